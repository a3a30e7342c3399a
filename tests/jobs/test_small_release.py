"""`infer`: new videos are served by a small run, equal to the batch's, and never by a training."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
import small_world
from small_home import SmallHome

from vidtopics.cli import common
from vidtopics.cli.infer import Served, serve_new
from vidtopics.contracts import (
    DERIVED,
    TOPIC_QUEUES,
    VIDEO_CATALOG,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.errors import BusyError, TableError
from vidtopics.ingest import Source, ingest
from vidtopics.ingest.inbox import Inbox
from vidtopics.jobs import small_release
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs
from vidtopics.jobs.reuse import LastResult
from vidtopics.jobs.small_release import is_due, release_new
from vidtopics.online import OnlineClient
from vidtopics.releases.lock import SMALL_RELEASE, hold
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, append, in_force, read_log
from vidtopics.topic_models import versions
from vidtopics.topic_models.store import load, save

NEW = ["n1", "n2"]


@pytest.fixture
def served(
    fork: Callable[..., SmallHome], store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> SmallHome:
    """A copy of the home whose Redis is empty."""
    monkeypatch.setenv("REDIS_URL", valkey)
    return fork()


def deliver(folder: Path, *videos: str) -> Path:
    """Videos of golf, published just now; a known one is shown and clicked once."""
    (folder / "covers").mkdir(parents=True)
    now = datetime.now(UTC).isoformat()
    golf = small_world.CLASSES.index("sport/golf")
    rows = [
        {
            "video_id": name,
            "title": " ".join(small_world.WORDS["sport/golf"][:4]),
            "cover": small_world.cover(folder, small_world.np.random.default_rng(n), name, golf),
            "primary_class": "sport",
            "secondary_class": "sport/golf",
            "tags": "|".join(small_world.WORDS["sport/golf"][:2]),
            "published_at": now,
        }
        for n, name in enumerate(videos)
    ]
    small_world.table(folder / "videos.csv", rows)
    log = {"event_id": f"{folder.name}-1", "user_id": "u1", "video_id": "v010", "clicked": "1"}
    small_world.table(folder / "impressions.csv", [{**log, "event_timestamp": now}])
    return folder


def arrive(inbox: Inbox, name: str, *videos: str) -> None:
    inbox.make()
    deliver(inbox.inbox / f".{name}", *videos).rename(inbox.inbox / name)


def serve(home: SmallHome) -> Served:
    done = Served()
    serve_new(home.tables.home, False, home.settings, Inbox(home.tables.home), done)
    return done


def holding(home: SmallHome, table: Table) -> dict[tuple[str, ...], dict]:
    """What holds now by key, without times, nor clicks that decay with the run's."""
    rows = home.tables.as_of(table, 2**62).to_pylist()
    for row in rows:
        row.pop("queue_clicks", None)
    return {tuple(str(row[k]) for k in table.key): row for row in rows}


def test_new_videos_are_served_beside_a_broken_delivery(served: SmallHome, valkey: str) -> None:
    home, inbox = served.tables.home, Inbox(served.tables.home)
    assert not is_due(served.tables)
    arrive(inbox, "good", *NEW)
    (inbox.inbox / "broken").mkdir()
    done = serve(served)
    assert {t.name: t.outcome for t in done.deliveries} == {"good": "ingested", "broken": "refused"}
    assert done.decision is not None
    assert done.decision.state == "released"
    client = OnlineClient.from_url(valkey)
    topics = client.read("video_topics", NEW)
    assert topics.present.all()
    assert client.read("video_joint_representation", NEW).present.all()
    assert client.read("video_statistics", NEW)["video_exposures"].tolist() == [0, 0]
    epoch = int(topics["topic_epoch"][0])
    used = [int(t) for t in topics["topic_ids"][0] if t >= 0]
    assert used
    for queue in client.queues([f"{t}:fresh" for t in used], epoch=epoch, limit=100):
        assert set(NEW) <= set(queue)
    # What came is in the tables as a release that names what it was computed from.
    release = in_force(read_log(served.tables))
    assert release is not None
    assert release.release_id == done.decision.release_id
    assert release.versions["video_catalog"] == served.tables.data_version(VIDEO_CATALOG)
    # Nothing waits: no commit, no release.
    commits = {t.name: served.tables.version(t) for t in DERIVED}
    again = serve(served)
    assert (again.deliveries, again.steps, again.decision) == ([], [], None)
    assert {t.name: served.tables.version(t) for t in DERIVED} == commits
    assert len(versions(home)) == 3  # as the home was trained


@pytest.mark.slow
def test_the_rows_are_those_of_a_batch_and_of_one_that_computes_all_anew(
    served: SmallHome, fork: Callable[..., SmallHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, inbox = fork(), Inbox(served.tables.home)
    delivery = deliver(batch.tables.home / "good", *NEW)
    inbox.make()
    shutil.copytree(delivery, inbox.inbox / "good")
    serve(served)
    ingest(batch.tables, Source("folder", delivery), batch.settings.ingest)
    run_jobs(Run.now(batch.tables, batch.settings), find([]))
    for table in DERIVED:
        assert holding(served, table) == holding(batch, table), table.name
    assert {("n1",), ("n2",)} <= holding(served, VIDEO_TOPICS).keys()
    # Without anything that could be taken over from an earlier run the same rows come out.
    monkeypatch.setattr(Tables, "is_done", lambda *_: False)
    monkeypatch.setattr(
        LastResult, "of", classmethod(lambda cls, run, job, *_: cls(run, job, None))
    )
    before = {t.name: len(served.rows(t)) for t in DERIVED if t.kind == "history"}
    queues = holding(served, TOPIC_QUEUES)
    run_jobs(Run.now(served.tables, served.settings), find([]))
    assert {t.name: len(served.rows(t)) for t in DERIVED if t.kind == "history"} == before
    assert holding(served, TOPIC_QUEUES) == queues


def with_another_model(home: SmallHome) -> int:
    """As after `train topics`: the number of a version that no release has yet."""
    last = versions(home.tables.home)[-1]
    model = load(home.tables.home, last.number)
    later = replace(model.version, as_of_us=model.version.as_of_us + 1)
    return save(home.tables.home, replace(model, version=later)).number


def test_another_model_is_an_error_with_its_mend_and_nothing_is_trained(served: SmallHome) -> None:
    number = with_another_model(served)
    commits = {t.name: served.tables.version(t) for t in DERIVED}
    with pytest.raises(TableError) as error:
        release_new(served.tables, served.settings, land=lambda _: None)
    assert f"expected topic model version {number - 1}, that of release" in str(error.value)
    assert f"found version {number}" in str(error.value)
    assert "Mend: `vidtopics run`" in str(error.value)
    assert {t.name: served.tables.version(t) for t in DERIVED} == commits
    assert versions(served.tables.home)[-1].number == number


@pytest.mark.slow
def test_what_waited_for_a_run_with_another_model_is_served_by_it(served: SmallHome) -> None:
    with_another_model(served)
    arrive(Inbox(served.tables.home), "good", *NEW)
    with pytest.raises(TableError, match="that of release"):
        serve(served)
    assert ("n1",) in holding(served, VIDEO_CATALOG)  # it was taken
    run_jobs(Run.now(served.tables, served.settings), find([]))
    assert serve(served).decision is None
    assert ("n1",) in holding(served, VIDEO_TOPICS)


def test_without_a_release_it_says_what_to_do(inputs: SmallHome) -> None:
    with pytest.raises(TableError, match="expected a release that it adds videos to, found none"):
        release_new(inputs.tables, inputs.settings, land=lambda _: None)
    assert versions(inputs.tables.home) == []


def test_another_run_is_waited_for_and_others_wait_for_a_small_release(served: SmallHome) -> None:
    root = served.tables.home
    with hold(root, "vidtopics run"), pytest.raises(BusyError, match="`vidtopics run`"):
        release_new(served.tables, served.settings, land=lambda _: None)
    lock = hold(root, "vidtopics run")
    lock.__enter__()
    threading.Timer(0.3, lambda: lock.__exit__(None, None, None)).start()
    release_new(served.tables, served.settings, land=lambda _: None, patience_s=60)
    small = hold(root, SMALL_RELEASE)
    small.__enter__()
    threading.Timer(0.3, lambda: small.__exit__(None, None, None)).start()
    with hold(root, "vidtopics run"):
        pass


def test_events_land_once_the_time_of_the_run_is_fixed(
    served: SmallHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = Run.now

    def now(*arguments: object) -> Run:
        order.append("time")
        return real(*arguments)

    monkeypatch.setattr(small_release.Run, "now", now)
    monkeypatch.setattr(
        small_release, "run_jobs", lambda run, *_: order.append(f"jobs {run.lock is not None}")
    )
    release_new(served.tables, served.settings, land=lambda us: order.append("landed"))
    assert order == ["time", "landed", "jobs True"]


def test_what_a_rollback_took_back_waits_for_another_delivery(
    served: SmallHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = in_force(read_log(served.tables))
    assert good is not None
    bad = {name: version + 5 for name, version in good.versions.items()}
    real = Tables.data_version

    def deliver_up_to(more: int) -> None:
        monkeypatch.setattr(
            Tables, "data_version", lambda self, table: real(served.tables, table) + more
        )

    deliver_up_to(5)
    assert is_due(served.tables)
    us, number = time.time_ns() // 1000, good.release_id + 1
    for row in (
        Release(number, "released", us, us, bad),
        Release(number, "rolled_back", us, us + 1, bad),
        Release(number + 1, "released", us, us + 2, good.versions),
    ):
        append(served.tables, [row], run=2**60)
    assert not is_due(served.tables)
    deliver_up_to(6)
    assert is_due(served.tables)


@pytest.mark.parametrize(
    "wrong", [[], ["--once", "--follow"], ["somewhere", "--once"], ["--follow", "--json"]]
)
def test_wrong_use_ends_with_2(served: SmallHome, wrong: list[str]) -> None:
    assert common.run(["infer", *wrong, "--home", str(served.tables.home)]) == 2


def test_a_refused_delivery_is_told_of_and_ends_with_1(
    served: SmallHome, capsys: pytest.CaptureFixture[str]
) -> None:
    root = served.tables.home
    (Inbox(root).inbox / "broken").mkdir(parents=True)
    options = ["--home", str(root), "--config", str(served.config)]
    assert common.run(["infer", "--once", "--json", *options]) == 1
    report = json.loads(capsys.readouterr().out)
    (broken,) = report["deliveries"]
    assert (broken["name"], broken["outcome"]) == ("broken", "refused")
    assert "found an empty directory" in broken["cause"]
    assert (report["steps"], report["release"]) == ([], None)


@pytest.mark.slow
def test_a_delivery_that_is_named_stays_where_it_is(
    served: SmallHome,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = served.tables.home
    options = ["--home", str(root), "--config", str(served.config)]
    delivery = deliver(tmp_path / "mine", "n1")
    assert common.run(["infer", str(delivery), *options]) == 0
    out = capsys.readouterr().out
    assert "videos.csv" in out
    assert "video_topics" in out
    assert (delivery / "videos.csv").is_file()
    monkeypatch.setattr("vidtopics.cli.infer.PATIENCE_S", 0.0)
    with hold(root, "vidtopics run"):
        again = deliver(tmp_path / "again", "n2")
        assert common.run(["infer", str(again), *options]) == 3
