"""A release and its ranker are exchanged as one while requests go on."""

from __future__ import annotations

import json
import threading

import pytest
from serving_world import (
    Caller,
    MarkedRanker,
    release,
    service_over,
    serving,
    store_model,
    wait_for,
)

from consumers.serving import live
from vidtopics.layout import place


def test_releases_switch_under_load_without_an_error_or_a_mixed_pair(store, tmp_path):
    """Model first, or release first: then the order of recall stands in until the model comes."""
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path)
    MarkedRanker.mixed = ()
    answers, ended = [], threading.Event()

    def ask(port):
        caller = Caller(port)
        while not ended.is_set():
            answers.append(caller.post("/recommend", {"user_id": "ann", "limit": 1}))

    with serving(service) as caller:
        port = caller.connection.port
        threads = [threading.Thread(target=ask, args=[port]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for load in range(2, 12):
            if load % 2:
                store_model(tmp_path, load)
                wait_for_more(answers)
            release(store, load)
            wait_for(lambda n=load: service.watch.current.release == n)
            wait_for_more(answers)
            store_model(tmp_path, load)
            wait_for(lambda: service.watch.current.model is not None)
            wait_for_more(answers)
        ended.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in answers} == {200}
    assert not MarkedRanker.mixed
    assert {answer["release"] for _, answer in answers} == set(range(1, 12))
    for _, answer in answers:
        number, [video] = answer["release"], answer["videos"]
        if answer["degraded"]:
            assert (answer["degraded"], answer["model"]) == (["ranker"], None)
        else:
            assert answer["model"] == {"version": f"w{number}", "trained_on_release": number}
            assert round(video["score"], 6) == number / 100
    assert any(answer["degraded"] for _, answer in answers)


def wait_for_more(answers):
    """Twice as many as callers: the last ones were asked for after this was called."""
    enough = len(answers) + 8
    wait_for(lambda: len(answers) >= enough)


def test_a_release_of_the_same_epoch_keeps_the_ranker(store, tmp_path):
    release(store, 1, epoch=1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path)
    service.watch.look()
    first = service.watch.current
    service.watch.look()
    assert service.watch.current is first  # nothing has changed
    release(store, 2, number=7, epoch=1)
    service.watch.look()
    second = service.watch.current
    assert (second.release, second.model) == (7, first.model)
    assert second.store.directory().load == 2
    assert first.store.directory().load == 1  # requests of before go on with theirs


def test_another_ranker_of_the_same_release_is_warm_before_requests_go_to_it(
    store, tmp_path, monkeypatch
):
    """`vidtopics train ranking` alone: else the first requests would wait for its first use."""
    release(store, 1)
    store_model(tmp_path, 1)
    service, uses, score = service_over(store, tmp_path), [], MarkedRanker.score

    def noted(ranker, candidates, features):
        current = service.watch.current
        uses.append((current and current.model.version, candidates.user_id))
        return score(ranker, candidates, features)

    monkeypatch.setattr(MarkedRanker, "score", noted)
    service.watch.look()
    first = service.watch.current
    retrain(tmp_path, 1, "again")
    service.watch.look()
    second = service.watch.current
    service.watch.look()
    assert (first.model.version, second.model.version) == ("w1", "again")
    assert (second.recall, second.store) == (first.recall, first.store)
    assert service.watch.current is second
    assert uses == [(None, live.PROBE_USER), ("w1", live.PROBE_USER)]


def test_another_ranker_that_hangs_is_named_and_taken_all_the_same(store, tmp_path, monkeypatch):
    release(store, 1)
    store_model(tmp_path, 1)
    service, warned = service_over(store, tmp_path), []
    service.watch.look()
    service.watch._warn = warned.append
    monkeypatch.setattr(live, "WARM_S", 0.1)
    monkeypatch.setattr(MarkedRanker, "score", hangs)
    retrain(tmp_path, 1, "again")
    service.watch.look()
    assert service.watch.current.model.version == "again"
    [warning] = warned
    assert "the ranking model again: expected scores, found TimeoutError" in warning


def retrain(folder, epoch, version):
    """Another model of the same topic epoch."""
    store_model(folder, epoch)
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(facts | {"weights": f"{version}.safetensors"}))


def test_a_rollback_takes_back_release_and_ranker(store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path)
    service.watch.look()
    store_model(tmp_path, 2)
    release(store, 2)
    service.watch.look()
    assert service.watch.current.model.version == "w2"
    release(store, 3, number=4, epoch=1)  # old values as a new load
    service.watch.look()
    assert (service.watch.current.release, service.watch.current.model) == (4, None)
    assert "expected a ranking model of topic epoch 1" in service.watch.problems[0]
    store_model(tmp_path, 1)
    service.watch.look()
    assert (service.watch.current.model.version, service.watch.problems) == ("w1", ())


def fails(*given):
    raise ZeroDivisionError


def hangs(*given):
    threading.Event().wait()


@pytest.mark.parametrize(
    ("score", "error"), [(fails, "ZeroDivisionError"), (hangs, "TimeoutError")]
)
def test_a_bad_ranker_keeps_no_release_from_going_live(store, tmp_path, monkeypatch, score, error):
    warned = []
    monkeypatch.setattr(live, "WARM_S", 0.1)
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path)
    service.watch._warn = warned.append
    monkeypatch.setattr(MarkedRanker, "score", score)
    service.watch.look()
    assert (service.watch.current.release, service.watch.problems) == (1, ())
    [warning] = warned
    assert f"the ranking model w1: expected scores, found {error}" in warning


def test_a_look_that_hangs_keeps_no_service_from_its_end(store, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "END_S", 0.01)
    watch, began, freed = service_over(store, tmp_path).watch, threading.Event(), threading.Event()
    ends = threading.Thread(target=lambda: freed.wait(20) or freed.set())  # a failure hangs no run
    monkeypatch.setattr(watch, "look", lambda: (began.set(), freed.wait()))
    ends.start()
    try:
        with live.watching(watch, 0.01):
            began.wait()
        assert not freed.is_set()
    finally:
        freed.set()
        ends.join()


def test_a_request_whose_release_is_gone_is_answered_from_the_next(store, tmp_path):
    """Between two looks a release went live and the one before was dropped."""
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path, check_every=3_600)
    with serving(service) as caller:
        release(store, 2)
        store.hdel(place("vt", "releases"), "1")
        status, answer = caller.post("/recommend", {"user_id": "ann"})
    assert (status, answer["release"], answer["degraded"]) == (200, 2, ["ranker"])


def test_redis_gone_is_a_reason_and_what_is_current_stays(store, tmp_path):
    warned = []
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path)
    service.watch._warn = warned.append
    assert list(service.not_ready()) == ["the live release has not been looked for yet"]
    service.watch.look()
    current = service.watch.current
    store.flushall()
    for _ in range(2):
        service.watch.look()
    assert service.watch.current is current
    [reason] = service.not_ready()
    assert reason.startswith("Redis, prefix 'vt': expected a store, found nothing. Mend: load it")
    assert warned == [reason]
    service.draining = True
    assert list(service.not_ready()) == ["draining: the service ends", reason]
