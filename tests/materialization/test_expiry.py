"""Redis drops values past their TTL, never earlier; views without a TTL keep everything."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from online_home import SETTINGS, OnlineHome

from benchmarks.homes import release_tables
from vidtopics import contracts
from vidtopics.contracts import VIDEO_STATISTICS, View
from vidtopics.layout import Field, Schema, encode, tombstones
from vidtopics.materialization import StoreWriter
from vidtopics.materialization.reconcile import reconcile
from vidtopics.online import OnlineClient, Status

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
SCHEMA = Schema((Field("n", "int64", "scalar", "int64"),))


def write(store: redis.Redis, event_us: int, ttl_us: int, *, ended: bool = False) -> int:
    """Write a value of the entity `a`. Returns when Redis drops it, in microseconds (-1: never)."""
    writer = StoreWriter(store, buckets=3)
    load = writer.load(writer.register("view", SCHEMA, ttl_us))
    marks = load.space.fingerprints([b"a"])
    times = {"event_us": [event_us], "created_us": [1]}
    value = (
        tombstones(SCHEMA, marks, **times)
        if ended
        else encode(SCHEMA, {"n": [1]}, fingerprints=marks, **times)
    )
    load.add([b"a"], value)
    load.finish()
    expires_ms = store.pexpiretime(load.space.of([b"a"])[0])
    return expires_ms * 1000 if expires_ms > 0 else expires_ms


def status(store: redis.Redis) -> Status:
    return Status(OnlineClient(store).read("view", ["a"]).status[0])


def now_us() -> int:
    return time.time_ns() // 1000 // 1000 * 1000  # as exact as Redis's expiry


@pytest.mark.parametrize(
    ("ttl_us", "after_us"),
    [
        (10 * MINUTE_US, 10 * MINUTE_US + HOUR_US),
        (6 * HOUR_US, 12 * HOUR_US),
        (14 * DAY_US, 15 * DAY_US),
    ],
)
@pytest.mark.parametrize("ended", [False, True])
def test_a_value_goes_some_time_after_its_ttl(
    store: redis.Redis, ttl_us: int, after_us: int, ended: bool
) -> None:
    event = now_us()
    assert write(store, event, ttl_us, ended=ended) == event + after_us
    assert (
        write(store, event + 1, ttl_us, ended=ended) == event + after_us + 1000
    )  # Redis counts milliseconds: up, not down


def test_a_view_without_a_ttl_keeps_its_values(store: redis.Redis) -> None:
    assert write(store, now_us(), 0) == -1


def test_a_newer_row_stays_longer_and_an_older_one_changes_nothing(store: redis.Redis) -> None:
    event = now_us()
    write(store, event, DAY_US)
    assert write(store, event + HOUR_US, DAY_US) == event + HOUR_US + 2 * DAY_US
    assert write(store, event - HOUR_US, DAY_US) == event + HOUR_US + 2 * DAY_US


@pytest.mark.parametrize("event_us", [-(10**15), 0, 10**15])
def test_a_value_that_comes_too_old_is_told_as_such_for_a_while(
    store: redis.Redis, event_us: int
) -> None:
    before = now_us()
    expires = write(store, event_us, 6 * HOUR_US)
    assert before + 6 * HOUR_US <= expires <= now_us() + 6 * HOUR_US + 1000
    assert status(store) == Status.OUTSIDE_MAX_AGE


def test_what_redis_dropped_is_not_found_and_an_older_row_is_still_too_old(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtopics.materialization.writer.grace_us", lambda _: 20_000)
    ttl_us = 1_000_000
    assert write(store, now_us() - ttl_us - 1, ttl_us) > 0
    end = time.monotonic() + 60
    while (current := status(store)) != Status.NOT_FOUND:
        assert current == Status.OUTSIDE_MAX_AGE
        assert time.monotonic() < end
    write(store, now_us() - 2 * ttl_us, ttl_us)
    assert status(store) == Status.OUTSIDE_MAX_AGE


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> AgingHome:
    """Two videos: one of two hours ago, one of ten."""
    home = AgingHome(OnlineHome(tmp_path / "home"), store, monkeypatch)
    now = now_us()
    for name, hours in (("new", 2), ("old", 10)):
        at = now - hours * HOUR_US
        home.rows.statistics((name, at, at, hours))
    release_tables(home.rows.tables, as_of_us=now, created_us=now, settings="s")
    return home


class AgingHome:
    """A home whose one view has the TTL that a test gives it."""

    def __init__(
        self, rows: OnlineHome, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.rows, self.store, self.monkeypatch = rows, store, monkeypatch

    def run(self, ttl: timedelta) -> tuple[str, int]:
        """Materialise: why a new generation was made, and the number of values written."""
        aged = replace(VIDEO_STATISTICS, view=View("video", ttl=ttl))
        for module in ("vidtopics.materialization.releases", "vidtopics.materialization.reconcile"):
            self.monkeypatch.setattr(f"{module}.VIEWS", {**contracts.VIEWS, aged.name: aged})
        (moved,) = [m for m in self.rows.run(self.store).values() if m.name == aged.name]
        return moved.why, moved.written

    def faults(self) -> dict[str, int]:
        """What `reconcile` finds of the view."""
        return next(
            f.faults
            for f in reconcile(self.rows.tables, self.store, SETTINGS)
            if f.name == VIDEO_STATISTICS.name
        )

    def keys(self) -> dict[str, bytes]:
        space = OnlineClient(self.store).directory().keys(VIDEO_STATISTICS.name)
        return {name: space.of([name.encode()])[0] for name in ("new", "old")}

    def drops(self) -> dict[str, float]:
        """Per video the hours from now until Redis drops its value; none for those that stay."""
        expiry_ms = {name: self.store.pexpiretime(key) for name, key in self.keys().items()}
        return {
            name: round((ms * 1000 - now_us()) / HOUR_US, 1)
            for name, ms in expiry_ms.items()
            if ms > 0
        }


def test_a_longer_ttl_brings_back_what_redis_may_have_dropped(home: AgingHome) -> None:
    day, days = timedelta(days=1), timedelta(days=10)
    assert home.run(day) == ("", 2)
    assert home.drops() == {"new": 46, "old": 38}
    assert home.run(timedelta(hours=12)) == ("", 0)  # values stay longer than they need to
    assert home.run(days) == ("the TTL is longer now", 2)
    assert home.drops() == {"new": 11 * 24 - 2, "old": 11 * 24 - 10}
    assert home.run(timedelta(0)) == ("the TTL is longer now", 2)
    assert home.drops() == {}
    assert home.run(day) == ("", 0)
    assert home.run(days) == (
        "the TTL is longer now",
        2,
    )  # a Feast writer may have used the shorter one


def test_a_run_that_died_with_a_short_ttl_counts(home: AgingHome) -> None:
    home.run(timedelta(0))
    at = now_us()
    home.rows.statistics(("new", at, at, 7))
    release_tables(home.rows.tables, as_of_us=at, created_us=at, settings="s")
    assert home.run(timedelta(hours=1)) == ("", 1)
    assert home.drops() == {"new": 2}
    assert home.run(timedelta(0)) == ("the TTL is longer now", 2)


def test_reconcile_misses_only_what_is_not_past_its_ttl(home: AgingHome) -> None:
    home.run(timedelta(hours=5))
    assert home.faults() == {}
    home.store.delete(home.keys()["old"])
    assert home.faults() == {}
    home.store.delete(home.keys()["new"])
    assert home.faults() == {"missing": 1}


def test_reconcile_compares_what_is_past_its_ttl_and_still_there(home: AgingHome) -> None:
    home.run(timedelta(hours=5))
    home.store.setrange(home.keys()["old"], 30, b"x")
    assert home.faults() == {"another value": 1}


def test_a_ttl_that_feast_wrote_with_counts(home: AgingHome) -> None:
    home.run(timedelta(0))
    now = now_us()
    writer = StoreWriter(home.store, buckets=SETTINGS.buckets)
    load = writer.load(writer.register(VIDEO_STATISTICS.name, Schema.of(VIDEO_STATISTICS), HOUR_US))
    row = {f.name: f.empty(1) for f in Schema.of(VIDEO_STATISTICS).fields}
    marks = load.space.fingerprints([b"new"])
    load.add(
        [b"new"],
        encode(
            Schema.of(VIDEO_STATISTICS), row, fingerprints=marks, event_us=[now], created_us=[now]
        ),
    )
    load.finish()
    assert home.drops() == {"new": 2}
    assert home.run(timedelta(0)) == ("the TTL is longer now", 2)
    assert home.drops() == {}
