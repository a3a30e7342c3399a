"""`/recommend` with all it needs, and without each of its stages."""

from __future__ import annotations

import threading
from datetime import timedelta

import numpy as np
import pytest
from serving_world import AMPLE, MarkedRanker, release, service_over, serving, store_model, wait_for

from vidtopics.errors import TableError
from vidtopics.layout import Layout, Structures, place


@pytest.fixture
def service(store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    return service_over(store, tmp_path)


def recommend(caller, user="ann", **more):
    status, answer = caller.post("/recommend", {"user_id": user, "seed": 7} | more)
    assert status == 200, answer
    return answer


def degraded(service, stage):
    return service.metrics.registry.get_sample_value(
        "vidtopics_serving_degraded_total", {"stage": stage}
    )


def test_a_whole_answer(service):
    with serving(service) as caller:
        answer = recommend(caller, limit=2)
        ready = caller.get("/ready")
    assert ready == (200, {"ready": True, "reasons": []})
    videos = answer.pop("videos")
    assert answer == {
        "user_id": "ann",
        "clicks": 1,
        "candidates": 6,
        "popular": "",
        "left_out": {"clicks": {}, "candidates": {}},
        "live": None,
        "release": 1,
        "model": {"version": "w1", "trained_on_release": 1},
        "degraded": [],
    }
    assert [round(video.pop("score"), 6) for video in videos] == [0.01, 0.0099]
    assert videos[0] == {
        "rank": 1,
        "video_id": "v1",  # v0 was clicked
        "level": "topic",
        "topic_id": 5,
        "label_terms": ["soccer", "goal"],
        "queue_position": 1,
        "topic_clicks": 1,
        "fresh": False,
        "reason": "because you clicked 1 video of topic 5 (soccer, goal); queue place 1",
        "topics": [{"topic_id": 5, "weight": 0.75, "label_terms": ["soccer", "goal"]}],
    }


def failing(candidates, features):
    raise KeyError("ann")


FAULTS = {
    "it fails": (failing, "KeyError at line"),
    "too few scores": (lambda c, f: np.zeros(1, np.float32), "no number for each"),
    "no numbers": (lambda c, f: np.full(len(c.video_ids), np.nan), "no number for each"),
}


@pytest.mark.parametrize(("score", "cause"), FAULTS.values(), ids=FAULTS)
def test_a_ranker_that_fails_leaves_the_order_of_recall(service, monkeypatch, caplog, score, cause):
    caplog.set_level("INFO", logger="vidtopics.service")
    with serving(service) as caller:
        whole = recommend(caller)
        monkeypatch.setattr(MarkedRanker, "score", lambda self, *given: score(*given))
        answer = recommend(caller)
    assert answer["degraded"] == ["ranker"]
    assert (answer["model"], {v["score"] for v in answer["videos"]}) == (None, {None})
    assert ids(answer) == ids(whole)  # scores fall in the order of recall
    assert degraded(service, "ranker") == 1
    lines = [r.fields for r in caplog.records if r.getMessage() == "request"]
    assert cause in lines[-1]["cause"]
    assert "ann" not in str(lines)


def ids(answer):
    return [video["video_id"] for video in answer["videos"]]


def test_a_ranker_that_hangs_costs_its_share_of_the_deadline(store, tmp_path, monkeypatch):
    """Of all threads: the ones that wait for it keep no later request from its answer."""
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path, threads=2, ranker_share=0.005)
    freed = threading.Event()
    try:
        with serving(service) as caller:
            monkeypatch.setattr(MarkedRanker, "score", lambda *given: freed.wait())
            for asked in (1, 2, 3, 4):
                assert recommend(caller)["degraded"] == ["ranker"]
                wait_for(lambda asked=asked: degraded(service, "ranker") == asked)
    finally:
        freed.set()


def test_without_a_model_the_order_of_recall_and_the_reason_at_ready(store, tmp_path):
    release(store, 1)
    with serving(service_over(store, tmp_path / "none"), ready=False) as caller:
        wait_for(lambda: "model.json" in str(caller.get("/ready")))
        answer = recommend(caller)
        status, ready = caller.get("/ready")
    assert (answer["degraded"], answer["model"]) == (["ranker"], None)
    assert (status, ready["ready"], len(ready["reasons"])) == (503, False, 1)


def test_a_model_that_cannot_be_read(store, tmp_path):
    def broken(folder):
        raise TableError("models/ranking: expected a ranking model, found rubbish.")

    release(store, 1)
    service = service_over(store, tmp_path)
    service.watch._models._load = broken
    with serving(service, ready=False) as caller:
        wait_for(lambda: "rubbish" in str(caller.get("/ready")))
        assert recommend(caller)["degraded"] == ["ranker"]


def test_an_unknown_user_gets_what_is_popular(service):
    with serving(service) as caller:
        answer = recommend(caller, user="nobody")
    assert (answer["degraded"], answer["popular"]) == (["user"], "new user")
    assert answer["videos"][0]["reason"].startswith("new user: popular in topic group 1 (sports)")
    assert degraded(service, "user") == 1


def test_lost_queues_of_topics_leave_what_is_popular_with_all(service, store):
    names = Structures("vt", Layout())
    with serving(service) as caller:
        store.delete(names.queue(1, "5"), names.queue(1, "p1"))
        partly = recommend(caller)
        store.delete(names.queue(1, "all"))  # its head is in memory
        wholly = recommend(caller)
    for answer in (partly, wholly):
        assert answer["degraded"] == ["queues"]
        assert {video["level"] for video in answer["videos"]} == {"catalogue"}
        assert answer["videos"][0]["reason"].startswith("popular with all")
    assert degraded(service, "queues") == 2


def test_a_release_without_queues_is_said_and_its_features_are_read(service, store):
    store.hdel(place("vt", "structures"), "topic_queues")
    store.incr(place("vt", "directory"))
    with serving(service, ready=False) as caller:
        wait_for(lambda: "queues" in str(caller.get("/ready")))
        status, answer = caller.post("/recommend", {"user_id": "ann"})
        assert (status, "expected queues of topics" in answer["errors"][0]) == (503, True)
        status, _ = caller.post("/features", {"views": ["video_topics"], "ids": {"video": ["v1"]}})
        assert status == 200


def test_without_tables_topics_have_numbers_alone(service):
    def unreadable():
        raise TableError("topics: expected a table, found none.")

    service.watch._labels = unreadable
    with serving(service) as caller:  # ready all the same
        answer = recommend(caller)
    assert answer["degraded"] == ["labels"]
    assert answer["videos"][0]["reason"] == "because you clicked 1 video of topic 5; queue place 1"


def test_a_slow_redis_ends_with_503_and_words(store, tmp_path):
    release(store, 1)
    store_model(tmp_path, 1)
    service = service_over(store, tmp_path)
    with serving(service) as caller:
        recommend(caller)
        set_deadline(service, timedelta(milliseconds=50))
        store.execute_command("CLIENT", "PAUSE", "3000", "ALL")
        status, headers, body = caller.ask(
            "POST", "/recommend", '{"user_id": "ann"}', {"Content-Type": "application/json"}
        )
        assert caller.get("/live") == (200, {"live": True})
        assert (status, headers["Retry-After"]) == (503, "1")
        assert b"expected an answer of Redis within 50 ms, found none" in body
        set_deadline(service, AMPLE)
        assert recommend(caller)["degraded"] == []


def set_deadline(service, deadline):
    service.settings = service.settings.model_copy(update={"deadline": deadline})
