"""A release is seen as a whole or not at all, stays a while, and is taken back by one switch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from online_home import KEEP, SETTINGS, OnlineHome, Row, dump, lease_ends

from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.errors import StoreError, TableError
from vidtopics.failpoints import Crash, Point, armed
from vidtopics.layout import place
from vidtopics.layout.chain import versions
from vidtopics.materialization import (
    IncompleteError,
    LockError,
    pins,
    preview,
    rebuilds,
    switching,
)
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import hold
from vidtopics.materialization.releases import loaded_release
from vidtopics.materialization.rollback import retained, switch_back
from vidtopics.online import OnlineClient, Status
from vidtopics.releases.loads import read_loads

VIDEOS = [f"v{i}" for i in range(12)]


@pytest.fixture
def home(tmp_path: Path) -> OnlineHome:
    return OnlineHome(tmp_path / "home")


def publish(home: OnlineHome, n: int) -> None:
    """A release that says n everywhere: in both views, the queues and their epoch."""
    home.statistics(*[(v, n, n, n) for v in VIDEOS])
    home.topics(*[(v, n, n, n) for v in VIDEOS])
    home.queues({1: [f"q{n}"]}, epoch=n)
    home.release()


def seen(store: Any) -> set[int]:
    """What a reader is told, over all ids, views and the queues, by one directory."""
    client = OnlineClient(store)
    statistics, topics = (
        client.read("video_statistics", VIDEOS),
        client.read("video_topics", VIDEOS),
    )
    assert (statistics.status == Status.PRESENT).all()
    assert (topics.status == Status.PRESENT).all()
    epoch = client.catalogue().epoch
    assert client.queues([1], epoch=epoch, limit=9) == [[f"q{epoch}"]]
    return {*statistics["video_exposures"].tolist(), *topics["topic_ids"][:, 0].tolist(), epoch}


@pytest.mark.parametrize("full", [False, True])
def test_nothing_of_a_release_is_seen_before_its_switch(
    home: OnlineHome, store: redis.Redis, full: bool
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    publish(home, 2)
    with pytest.raises(Crash), armed("materialize.staged"):
        home.run(store, KEEP, full=full)
    assert seen(store) == {1}
    lease_ends(store)
    moved = home.run(store, KEEP)
    assert seen(store) == {2}
    if not full:  # all rows were there: the run after it switches
        assert [m.read for name, m in moved.items() if name.startswith("video")] == [0, 0]
    assert all(m.up_to_date for m in home.run(store, KEEP).values())


def test_a_release_of_which_nothing_goes_online_is_live_too(
    home: OnlineHome, store: redis.Redis
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    home.joint(("v1", 1, 1, 1))
    home.release()
    home.run(store, KEEP.model_copy(update={"vectors": False}))
    assert retained(store, "vt") == [1, 2]


def test_going_back_and_on_again(home: OnlineHome, store: redis.Redis) -> None:
    for n in (1, 2, 3):
        publish(home, n)
        home.run(store, KEEP)
    assert retained(store, "vt") == [1, 2, 3]
    back = switch_back(store, KEEP, 2)
    assert (back.release, set(back.views)) == (2, {"video_statistics", "video_topics"})
    assert (seen(store), retained(store, "vt")) == ({2}, [1, 2])
    assert loaded_release(store, "vt") == 2  # what monitoring shows as live, and its lag goes by
    assert home.run(store, KEEP) == {}  # release 3 is in force in the tables still
    assert pins.standing(store, "vt").startswith("rolled back to release 2 at ")
    assert seen(store) == {2}
    publish(home, 4)
    home.run(store, KEEP)
    assert (seen(store), retained(store, "vt")) == ({4}, [1, 2, 4])
    assert loaded_release(store, "vt") == 4
    assert as_clean(home, store)


def test_what_the_next_release_does_not_write_is_what_the_table_says(
    home: OnlineHome, store: redis.Redis
) -> None:
    """Release 2 wrote v0 and v1, release 3 takes v0 back alone: v1 is the table's latest row."""
    publish(home, 1)
    home.run(store, KEEP)
    home.statistics(("v0", 2, 2, 66), ("v1", 2, 2, 77))
    home.release()
    home.run(store, KEEP)
    switch_back(store, KEEP, 1)
    assert seen(store) == {1}
    home.statistics(("v0", 3, 3, 1))
    home.release()
    home.run(store, KEEP)
    features = OnlineClient(store).read("video_statistics", VIDEOS[:3])
    assert features["video_exposures"].tolist() == [1, 77, 1]
    assert as_clean(home, store)


def test_what_was_gone_back_from_is_not_seen_where_an_earlier_release_is_loaded(
    home: OnlineHome, store: redis.Redis
) -> None:
    """Release 2 was passed over, release 3 wrote v0 and was gone back from: 2 has none of it."""
    publish(home, 1)
    home.run(store, KEEP)
    home.statistics(("v1", 2, 2, 77))
    home.release()
    home.statistics(("v0", 3, 3, 66))
    home.release()
    home.run(store, KEEP)
    switch_back(store, KEEP, 1)
    home.run(store, KEEP, release=2)
    features = OnlineClient(store).read("video_statistics", ["v0", "v1"])
    assert features["video_exposures"].tolist() == [1, 77]


def as_clean(home: OnlineHome, store: redis.Redis) -> bool:
    """Whether readers see what a load into an empty store shows, and nothing is left to do."""
    assert all(moved.up_to_date for moved in home.run(store, KEEP).values())
    here, fresh = values(dump(store)), redis.Redis(**store.get_connection_kwargs() | {"db": 1})
    fresh.flushdb()
    home.run(fresh, KEEP)
    clean = values(dump(fresh))
    fresh.close()
    return here == clean


def values(content: dict[bytes, Any]) -> dict[Any, Any]:
    """Of a dump, what readers see: values of live generations without their number, and lists."""
    live = {
        b"%d:%d" % (e["generation"], e["number"]): name
        for name, e in content[place("vt", "views").encode()].items()
    }
    facts = {
        (live.get(b":".join(key.split(b":")[1:3])), key.split(b":", 3)[-1]): value
        for key, value in content.items()
        if key.split(b":")[1].isdigit() and value is not None
    }
    return {k: v for k, v in facts.items() if k[0]} | {
        key: value for key, value in content.items() if key.startswith(b"vt:queue:0:")
    }


def test_the_homes_log_says_what_went_live_when(home: OnlineHome, store: redis.Redis) -> None:
    for n in (1, 2):
        publish(home, n)
        home.run(store, KEEP)
        home.run(store, KEEP, full=True)  # the same release again is no news
    live_us = switch_back(store, KEEP, 1).live_us
    home.run(store, KEEP)
    logged = read_loads(home.tables)
    assert [load.release_id for load in logged] == [1, 2, 1]
    assert logged[-1].live_us == live_us
    port = store.get_connection_kwargs()["port"]
    assert {load.store for load in logged} == {f"127.0.0.1:{port}/0/vt"}


def test_going_back_from_a_generation_to_the_one_before(
    home: OnlineHome, store: redis.Redis
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    publish(home, 2)
    home.run(store, KEEP, full=True)
    switch_back(store, KEEP, 1)
    assert seen(store) == {1}
    publish(home, 3)
    home.run(store, KEEP)
    generations = {e.generation for e in OnlineClient(store).directory().views.values()}
    assert (seen(store), generations) == ({3}, {1})
    assert {k.split(b":")[1] for k in store.scan_iter(match="vt:[0-9]*")} == {b"1"}
    publish(home, 4)
    home.run(store, KEEP, full=True)  # no number is used again
    assert {e.generation for e in OnlineClient(store).directory().views.values()} == {3}


def test_what_is_not_retained_is_named(home: OnlineHome, store: redis.Redis) -> None:
    for n in (1, 2):
        publish(home, n)
        home.run(store)  # keeps nothing
    before = dump(store)
    with pytest.raises(StoreError, match=r"expected release 1 to be retained, found releases 2"):
        switch_back(store, SETTINGS, 1)
    assert dump(store) == before


def test_a_rollback_overtakes_a_run(home: OnlineHome, store: redis.Redis) -> None:
    """It doesn't wait for a load; what that still does is refused."""
    for n in (1, 2):
        publish(home, n)
        home.run(store, KEEP)
    with hold(store, "vt") as lease:
        switch_back(store, KEEP, 1)
        with pytest.raises(LockError, match="found a later run"):
            lease.transaction(lambda pipe: pipe.multi())
    assert seen(store) == {1}


def test_records_go_after_their_time_and_versions_with_them(
    home: OnlineHome, store: redis.Redis
) -> None:
    for n in (1, 2, 3):
        publish(home, n)
        home.run(store, KEEP)
    key = next(store.scan_iter(match="vt:1:1:*"))
    value = store.get(key)
    assert value is not None
    assert len(versions(value)) == 3
    publish(home, 4)
    home.run(store)
    assert retained(store, "vt") == [4]
    value = store.get(key)
    assert value is not None
    assert len(versions(value)) == 1
    assert {k.split(b":")[2] for k in store.scan_iter(match="vt:queue:*")} == {b"4"}
    assert not store.exists(place("vt", "trims"))
    assert as_clean(home, store)


def test_a_value_has_nine_versions_at_most(home: OnlineHome, store: redis.Redis) -> None:
    for n in range(1, 12):
        publish(home, n)
        home.run(store, KEEP)
    assert retained(store, "vt") == list(range(4, 12))
    sizes = [len(versions(store.get(key) or b"")) for key in store.scan_iter(match="vt:1:1:*")]
    assert sizes == [8] * 12


def test_schemas_go_with_their_last_generation(home: OnlineHome, store: redis.Redis) -> None:
    home.joint(("v1", 1, 1, 1), width=3)
    home.release()
    home.run(store)
    first = set(OnlineClient(store).directory().schemas)
    home.joint(("v1", 2, 2, 1), width=5)
    home.release()
    assert home.run(store)["video_joint_representation"].why == "fields changed"
    home.run(store)
    assert not first & set(OnlineClient(store).directory().schemas)
    features = OnlineClient(store).read("video_joint_representation", ["v1"])
    assert features["joint_embedding"].shape == (1, 5)


# Another release than the one in force


def test_a_release_by_its_number_and_a_pin(home: OnlineHome, store: redis.Redis) -> None:
    for n in (1, 2):
        publish(home, n)
        home.run(store)
    home.run(store, release=1)  # not retained: from the tables
    assert seen(store) == {1}
    home.run(store)
    assert seen(store) == {2}
    home.run(store, release=1, pin="ops@host")
    publish(home, 3)
    assert home.run(store) == {}
    assert pins.standing(store, "vt").startswith("pinned at release 1 since ")
    with pytest.raises(StoreError, match="may go to release 3, found pinned at release 1 since"):
        home.run(store, release=3)
    assert seen(store) == {1}
    pins.unpin(store, "vt")
    home.run(store)
    assert seen(store) == {3}
    assert as_clean(home, store)


def test_a_release_that_is_retained_is_there_at_once(home: OnlineHome, store: redis.Redis) -> None:
    for n in (1, 2):
        publish(home, n)
        home.run(store, KEEP)
    assert all(moved.up_to_date for moved in home.run(store, KEEP, release=1).values())
    assert seen(store) == {1}
    home.run(store, KEEP)
    assert seen(store) == {2}


def test_a_release_that_never_was_moves_nothing(home: OnlineHome, store: redis.Redis) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    with pytest.raises(TableError, match="expected release 9, found none of that number"):
        home.run(store, KEEP, release=9, pin="ops@host")
    assert not pins.standing(store, "vt")
    assert seen(store) == {1}


# One damaged table


@pytest.mark.parametrize(
    ("name", "left_behind"),
    [
        ("video_statistics", {"video_statistics"}),
        ("topic_queues", {"topic_queues", "video_topics"}),
        ("video_topics", {"topic_queues", "video_topics"}),
    ],
)
def test_a_damaged_table_stops_what_must_not_mix_with_it_and_no_other(
    home: OnlineHome, store: redis.Redis, name: str, left_behind: set[str]
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    files = set((home.root / "tables" / name).glob("*.parquet"))
    publish(home, 2)
    (lost,) = set((home.root / "tables" / name).glob("*.parquet")) - files
    moved = lost.rename(home.root / lost.name)
    with pytest.raises(IncompleteError, match=lost.name) as caught:
        home.run(store, KEEP)
    assert {m.name for m in caught.value.moved if m.error} == {name}
    client = OnlineClient(store)
    values_ = {
        "video_statistics": set(
            client.read("video_statistics", VIDEOS)["video_exposures"].tolist()
        ),
        "video_topics": set(client.read("video_topics", VIDEOS)["topic_ids"][:, 0].tolist()),
        "topic_queues": {client.catalogue().epoch},
    }
    assert {n for n, v in values_.items() if v == {1}} == left_behind
    assert {n for n, v in values_.items() if v == {2}} == values_.keys() - left_behind
    assert retained(store, "vt") == [1]  # what isn't whole can't be gone back to
    moved.rename(lost)
    home.run(store, KEEP)
    assert (seen(store), retained(store, "vt")) == ({2}, [1, 2])
    assert as_clean(home, store)


def test_a_version_that_does_not_open_for_a_moment_is_no_rebuild(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    publish(home, 2)
    from vidtopics.materialization import changes

    real, failures = changes.DeltaTable, iter(range(2))

    def flaky(uri: str, version: int) -> Any:
        if next(failures, None) is not None:
            raise OSError("Input/output error")
        return real(uri, version=version)

    monkeypatch.setattr(changes, "DeltaTable", flaky)
    assert [m.why for m in home.run(store, KEEP).values()] == ["", "", ""]
    assert seen(store) == {2}
    publish(home, 3)
    failures = iter(range(99))
    with pytest.raises(IncompleteError, match="Input/output error, 4 times"):
        home.run(store, KEEP)
    assert seen(store) == {2}


# Rebuilds


def test_a_rebuild_that_failed_is_not_begun_again_each_round(
    home: OnlineHome, store: redis.Redis
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    table = home.tables.delta(VIDEO_STATISTICS)
    table.alter.set_table_properties({"delta.appendOnly": "false"})
    home.tables.delta(VIDEO_STATISTICS).delete("video_id = 'v3'")
    publish(home, 2)
    folder = home.root / "tables" / "video_statistics"
    lost = sorted(folder.glob("*.parquet"), key=lambda f: f.stat().st_mtime)[-1]
    moved = lost.rename(home.root / lost.name)
    with pytest.raises(IncompleteError, match="all its data files"):
        home.run(store, KEEP)
    loads = store.get(place("vt", "loads"))
    with pytest.raises(IncompleteError, match="expected a cause that was not tried yet, found"):
        home.run(store, KEEP)
    assert store.get(place("vt", "loads")) == loads
    moved.rename(lost)
    home.run(store, KEEP, full=True)
    assert seen(store) == {2}


def test_a_rebuild_for_which_redis_has_no_room_is_not_begun(
    home: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    publish(home, 2)
    store.config_set("maxmemory", 10**9)
    assert rebuilds.Memory.of(store).limit == 10**9
    assert 0 < rebuilds.Memory.of(store).used < 10**8
    store.config_set("maxmemory", 0)
    assert rebuilds.Memory.of(store).limit == store.info("memory")["total_system_memory"]
    needed = sum(store.memory_usage(key) for key in store.scan_iter(match="vt:1:1:*"))
    with monkeypatch.context() as patch:
        full_server = rebuilds.Memory(10**7, 10**7 + 100)
        patch.setattr(rebuilds.Memory, "of", lambda connection: full_server)
        expected = r"expected room for about 0\.0 MB in Redis.*found 10\.0 MB used of 10\.0 MB"
        with pytest.raises(IncompleteError, match=expected):
            home.run(store, KEEP, full=True)
    (moved, *_) = preview(home.tables, store, KEEP, full=True)
    assert moved.needs_bytes == needed
    assert seen(store) == {1}
    home.run(store, KEEP)
    assert seen(store) == {2}


# Whose keys these are


def test_another_home_is_refused_until_it_takes_over(
    home: OnlineHome, store: redis.Redis, tmp_path: Path
) -> None:
    publish(home, 1)
    home.run(store, KEEP)
    other = OnlineHome(tmp_path / "other")
    publish(other, 7)
    before = dump(store)
    with pytest.raises(StoreError, match=rf"the keys of the home .*other.*those of .*{home.root}"):
        other.run(store, KEEP)
    with pytest.raises(StoreError, match="expected the keys of the home"):
        preview(other.tables, store, KEEP)
    assert (dump(store), seen(store)) == (before, {1})
    other.run(store, KEEP.model_copy(update={"prefix": "other"}))
    assert seen(store) == {1}
    other.run(store, KEEP, take_over=True)
    assert seen(store) == {7}
    with pytest.raises(StoreError, match="expected the keys of the home"):
        home.run(store, KEEP)
    assert seen(store) == {7}


def test_two_environments_in_one_redis(
    home: OnlineHome, store: redis.Redis, tmp_path: Path
) -> None:
    """Their keys share nothing but the server."""
    publish(home, 1)
    home.run(store, KEEP)
    production = {k: v for k, v in dump(store).items() if k.startswith(b"vt:")}
    staging = OnlineHome(tmp_path / "staging")
    publish(staging, 5)
    settings = KEEP.model_copy(update={"prefix": "staging"})
    staging.run(store, settings)
    publish(staging, 6)
    staging.run(store, settings, full=True)
    switch_back(store, settings, 1)
    assert {k: v for k, v in dump(store).items() if k.startswith(b"vt:")} == production


# Any order of all of it


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_shows_one_release_and_ends_as_a_clean_load(
    home: OnlineHome, store: redis.Redis, seed: int
) -> None:
    """Releases of random rows, runs that die, rollbacks, older releases, in random order.

    What is seen is always the whole of what one release says, never a row that was gone back from.
    """
    chance = random.Random(seed)
    says: dict[int, dict[str, int]] = {}
    rows: list[Row] = []
    live = 0

    def next_release() -> None:
        n = len(says) + 1
        new = [(v, n, n, 100 * n + i) for i, v in enumerate(VIDEOS) if chance.random() < 0.4]
        new = new or [("v0", n, n, 100 * n)]
        rows.extend(new)
        home.statistics(*new)
        home.topics(*[(v, n, n, x) for v, _, _, x in new])
        home.release()
        says[n] = {v: x for v, _, _, x in rows if x is not None}

    def check() -> None:
        client, expected = OnlineClient(store), says[live]
        for view, field in (("video_statistics", "video_exposures"), ("video_topics", "topic_ids")):
            features = client.read(view, VIDEOS)
            numbers = features[field].reshape(len(VIDEOS), -1)[:, 0].tolist()
            present = (features.status == Status.PRESENT).tolist()
            actual = {v: n for v, n, p in zip(VIDEOS, numbers, present, strict=True) if p}
            assert actual == expected, (view, live)

    next_release()
    home.run(store, KEEP)
    live = 1
    points: list[Point] = ["materialize.batch", "materialize.view", "materialize.staged"]
    for _ in range(14):
        step = chance.choice(["release", "run", "die", "back", "older", "full", "expire"])
        if step == "release":
            next_release()
        elif step == "die":
            with armed(chance.choice(points)):
                try:
                    home.run(store, KEEP, full=chance.random() < 0.3)
                except Crash:
                    lease_ends(store)
        elif step == "back":
            switch_back(store, KEEP, chance.choice(retained(store, "vt")))
        elif step == "older":
            home.run(store, KEEP, release=chance.choice(list(says)))
        elif step in ("run", "full"):
            home.run(store, KEEP, full=step == "full")
        else:
            home.run(store, SETTINGS)
        live = switching.records(Generations(store, "vt", 4))[-1].release
        check()
    next_release()
    home.run(store, KEEP)
    live = len(says)
    check()
    assert as_clean(home, store)


def test_load_numbers_rise_whatever_happens(home: OnlineHome, store: redis.Redis) -> None:
    numbers = []
    action: Callable[[], object]
    for n, action in enumerate(
        [lambda: None, lambda: None, lambda: switch_back(store, KEEP, 1), lambda: None], 1
    ):
        publish(home, n)
        action()
        home.run(store, KEEP)
        numbers.append(int(store.get(place("vt", "loads")) or 0))
    assert numbers == sorted(set(numbers))
    records = [json.loads(r)["load"] for r in store.hvals(place("vt", "releases"))]
    assert sorted(records) == [1, 3, 4]
