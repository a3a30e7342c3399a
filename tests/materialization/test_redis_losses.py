"""Writes that Redis acknowledged and lost make a run fail, and the next bring them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from online_home import SETTINGS, OnlineHome

from benchmarks.redis_nodes import node, valkey_server
from vidtopics.errors import StoreError
from vidtopics.layout import Layout
from vidtopics.materialization import Span, backfill
from vidtopics.materialization.loading import Loaded, Loader, load_here
from vidtopics.materialization.structures import _Lists
from vidtopics.online import OnlineClient, Status

VIDEOS = [f"v{i}" for i in range(60)]
Copy = dict[bytes, bytes]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidtopics.materialization.writer.BATCH", 2)


@pytest.fixture
def home(tmp_path: Path) -> OnlineHome:
    return OnlineHome(tmp_path / "home")


def fill(home: OnlineHome, n: int) -> None:
    home.statistics(*[(v, n, n, n) for v in VIDEOS])
    home.release()


def bucket(store: redis.Redis, number: int) -> Copy:
    """All keys of one bucket, as a replica might have them."""
    tag = f"{{{Layout(SETTINGS.buckets).tags[number]}}}".encode()
    return {k: store.dump(k) for k in store.scan_iter(count=1000) if tag in k}


def back(store: redis.Redis, number: int, copy: Copy) -> None:
    """The bucket as it was: what a failover to a replica that lacks the last writes does."""
    for key in bucket(store, number).keys() - copy.keys():
        store.delete(key)
    for key, text in copy.items():
        store.restore(key, 0, text, replace=True)


def exposures(store: redis.Redis) -> set[int]:
    """What readers find of all videos; -1 for one without a key."""
    features = OnlineClient(store).read("video_statistics", VIDEOS)
    rows = zip(features.status, features["video_exposures"].tolist(), strict=True)
    return {-1 if status == Status.NOT_FOUND else n for status, n in rows}


def losing(store: redis.Redis, *, since: str) -> Loader:
    """Loads all rows; bucket 1 falls back to the run's claim, before it, or to the midst of it."""
    before = bucket(store, 1)

    def loader(work: Any, load: Any, progress: Any) -> Loaded:
        copy = [before if since == "before the run" else bucket(store, 1)]

        def watch(*done: Any) -> None:
            progress(*done)
            if since == "the first batch" and done[1] == 20:
                copy[0] = bucket(store, 1)

        report = load_here(work, load, watch)
        back(store, 1, copy[0])
        return report

    return loader


@pytest.mark.parametrize("since", ["before the run", "the claim", "the first batch"])
@pytest.mark.parametrize("loaded", [0, 1])
@pytest.mark.parametrize("full", [False, True])
def test_a_bucket_that_falls_back_makes_the_run_fail_and_the_next_one_bring_all(
    home: OnlineHome,
    store: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    since: str,
    loaded: int,
    full: bool,
) -> None:
    monkeypatch.setattr("vidtopics.materialization.changes.BATCH", 20)
    for n in range(1, loaded + 2):
        if n > 1:
            home.run(store)
        fill(home, n)
    with pytest.raises(StoreError, match=r"that Redis lost writes of this run .*Mend: run again"):
        home.run(store, loader=losing(store, since=since), full=full)
    assert not home.run(store)["video_statistics"].up_to_date
    assert exposures(store) == {loaded + 1}
    assert home.run(store)["video_statistics"].up_to_date


def test_a_range_that_was_lost_is_no_success(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home, 1)
    home.run(store)
    fill(home, 2)
    monkeypatch.setattr(
        "vidtopics.materialization.releases.load_here", losing(store, since="the claim")
    )
    with pytest.raises(StoreError, match="lost writes of this run"):
        backfill(home.tables, store, SETTINGS, Span(0, 10))


def test_what_another_sender_of_the_run_lost_shows_too(
    home: OnlineHome, store: redis.Redis
) -> None:
    """Spark's executors: each sends what it has to the end, and the driver sets the watermarks."""

    def executor(work: Any, load: Any, progress: Any) -> Loaded:
        other = load._writer.load(work.entry, load=load.load, retained=load.retained)
        done = load_here(work, other, progress)
        written = other.finish()
        if spoilt:
            back(store, 1, {})
        return Loaded(done.read, done.moved, written, 0, (other.sent(),))

    fill(home, 1)
    spoilt = True
    with pytest.raises(StoreError, match="lost writes of this run"):
        home.run(store, loader=executor)
    spoilt = False
    assert home.run(store, loader=executor)["video_statistics"].written == len(VIDEOS)
    assert exposures(store) == {1}


def test_a_flushed_redis_is_said_and_filled_by_the_next_run(
    home: OnlineHome, store: redis.Redis
) -> None:
    def loader(work: Any, load: Any, progress: Any) -> Loaded:
        done = load_here(work, load, progress)
        store.flushall()
        return done

    fill(home, 1)
    with pytest.raises(StoreError, match="lost writes of this run"):
        home.run(store, loader=loader)
    home.run(store)
    assert exposures(store) == {1}


def test_a_batch_that_is_sent_twice_is_no_loss(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that got no answer sends again."""
    from vidtopics.materialization import StoreWriter

    once = StoreWriter.write

    def twice(*arguments: Any, **named: Any) -> int:
        once(*arguments, **named)
        return once(*arguments, **named)

    monkeypatch.setattr(StoreWriter, "write", twice)
    fill(home, 1)
    assert home.run(store)["video_statistics"].read == len(VIDEOS)
    assert exposures(store) == {1}


def lists(store: redis.Redis) -> dict[bytes, list[bytes]]:
    """Those that readers see, by what follows their load."""
    load = OnlineClient(store).directory().structures["topic_queues"]["load"]
    return {
        k.partition(b"{")[2]: store.lrange(k, 0, -1)
        for k in store.scan_iter(match=f"vt:queue:{load}:*")
    }


def fill_lists(home: OnlineHome, n: int) -> None:
    home.queues({t: [f"v{t + n}"] for t in range(n, 20)})
    home.release()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("lost", ["all", "the last run"])
def test_lists_that_a_bucket_lost_come_again(
    home: OnlineHome, store: redis.Redis, number: int, lost: str
) -> None:
    copy: Copy = {}
    for n in (1, 2):
        copy = {} if lost == "all" else bucket(store, number)
        fill_lists(home, n)
        home.run(store)
    before = lists(store)
    back(store, number, copy)
    assert lists(store) != before
    assert not any(moved.up_to_date for moved in home.run(store).values())
    assert lists(store) == before  # of topics that were gone none came back
    assert all(moved.up_to_date for moved in home.run(store).values())


def test_lists_that_are_lost_in_the_midst_make_the_run_fail(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_lists(home, 1)
    home.run(store)
    fill_lists(home, 2)
    mark = _Lists.mark

    def lose(self: _Lists, name: str, text: str) -> None:
        back(store, 1, copy)
        mark(self, name, text)

    with monkeypatch.context() as patch:
        copy = bucket(store, 1)
        patch.setattr(_Lists, "mark", lose)
        with pytest.raises(StoreError, match="lost writes of this run"):
            home.run(store)
    home.run(store)
    assert len(lists(store)) == 18
    assert OnlineClient(store).queues([5], epoch=1, limit=9) == [["v7"]]


@pytest.mark.parametrize("loaded", [0, 1])
def test_a_server_killed_and_started_from_its_snapshot(
    home: OnlineHome, tmp_path: Path, loaded: int
) -> None:
    with (
        node(tmp_path / "server", binary=valkey_server()) as server,
        redis.Redis(port=server.port) as store,
    ):

        def loader(work: Any, load: Any, progress: Any) -> Loaded:
            store.save()
            done = load_here(work, load, progress)
            server.kill()
            server.start()
            return done

        if loaded:
            fill(home, 1)
            home.run(store)
        fill(home, 2)
        with pytest.raises(StoreError, match="lost writes of this run"):
            home.run(store, loader=loader)
        home.run(store)
        assert exposures(store) == {2}
