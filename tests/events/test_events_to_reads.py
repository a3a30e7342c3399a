"""From an acknowledged event to a read, into the log, through the next release and back."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from events_home import LIMIT, SETTINGS, VIDEOS, SmallHome, now_us
from live_worlds import Batch, Shown, sent

from vidtopics.contracts import CLICKS, DEAD_EVENTS, IMPRESSIONS, rejected
from vidtopics.errors import StoreError
from vidtopics.events.generations import (
    Generation,
    counters,
    open_generation,
    opened,
    parts_of,
)
from vidtopics.events.trimming import TRIMMED, trim
from vidtopics.failpoints import Crash, armed
from vidtopics.ingest.landing import Landed, land, not_landed
from vidtopics.layout import place
from vidtopics.materialization import live, materialize
from vidtopics.materialization.rollback import switch_back
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient
from vidtopics.times import micros

DAY = timedelta(days=1)
USERS = ["u1", "u2"]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Shown]]:
    """A home with a release of a log, and the log. Not to be written to."""
    home, log = SmallHome(tmp_path_factory.mktemp("released")), earlier_log()
    home.deliver(log)
    home.release()
    return home.root, log


@pytest.fixture
def log(released: tuple[Path, list[Shown]]) -> list[Shown]:
    return list(released[1])


@pytest.fixture
def home(released: tuple[Path, list[Shown]], tmp_path: Path, store: redis.Redis) -> SmallHome:
    """That home again, loaded into the store."""
    shutil.copytree(released[0], tmp_path / "copy")
    home = SmallHome(tmp_path / "copy")
    home.load(store)
    return home


def earlier_log() -> list[Shown]:
    """A day old, with more than the lists hold."""
    us = now_us() - 86_400_000_000
    return [
        Shown(f"d{i}", USERS[i % 2], VIDEOS[i % 5], us + i, i + 1, us + 100 + i if i % 3 else None)
        for i in range(12)
    ]


def assert_reads(store: Any, log: list[Shown]) -> None:
    """What a reader sees is the batch of the whole log."""
    client, batch = OnlineClient(store), Batch(log, 2**62, LIMIT)
    videos, users = batch.counts("video"), batch.counts("user")
    seen = client.live_statistics([*VIDEOS, "unknown"])
    pairs = list(zip(seen.exposures.tolist(), seen.clicks.tolist(), strict=True))
    assert pairs == [videos.get(video, (0, 0)) for video in [*VIDEOS, "unknown"]]
    for user in USERS:
        seen_user = client.live_user(user)
        assert (seen_user.exposures, seen_user.clicks) == users.get(user, (0, 0))
        assert list(seen_user.recent_clicks)[:LIMIT] == batch.recent_clicks(user)
        skips = batch.recent_skips(user)
        assert list(seen_user.recent_skips)[:LIMIT] == skips[: len(seen_user.recent_skips)]


def landed(home: SmallHome, store: Any, keys: Any) -> Landed:
    return land(home.tables, store, keys, SETTINGS.ingest, DAY)


def test_events_are_read_land_and_are_counted_by_the_next_release(
    home: SmallHome, store: redis.Redis, log: list[Shown]
) -> None:
    assert_reads(store, log)
    first_us = now_us()
    applier = live.begin(store, SETTINGS)
    client = EventClient(store)
    # A click on an impression of before the release, new ones, and one that is never clicked.
    old = log[0]
    log[0] = Shown(old.event, old.user, old.video, old.us, old.position, now_us(), 2.5)
    new = [
        Shown("n1", "u1", "v2", now_us(), 1, now_us() + 10, 1.5),
        Shown("n2", "u2", "v3", now_us(), 2),
    ]
    log += new
    client.send([log[0].click(), log[0].watched(), *sent(new)])
    [generation] = live.synchronise(home.tables, applier)
    assert generation.release == 1
    applier.apply(generation)
    assert_reads(store, log)

    assert landed(home, store, applier.keys) == Landed(6, 2, 2, 1)
    assert landed(home, store, applier.keys) == Landed()
    rows = {row["event_id"]: row for row in home.tables.read(CLICKS).to_pylist()}
    assert micros(rows["d0"]["event_timestamp"]) == log[0].clicked_us
    assert (rows["d0"]["watch_seconds"], rows["n1"]["watch_seconds"]) == (2.5, 1.5)

    # The next release counts them; what comes before it is live goes to both generations.
    time.sleep(0.01)
    home.release()
    log.append(Shown("n3", "u1", "v5", now_us(), 1, now_us()))
    client.send(sent(log[-1:]))
    applier.apply(generation)
    assert_reads(store, log)
    # A run dies before its switch: its generation waits, and what comes meanwhile is in it, too.
    with armed("materialize.staged"), pytest.raises(Crash):
        home.load(store)
    assert live.synchronise(home.tables, applier) == [generation]
    log.append(Shown("n5", "u2", "v1", now_us(), 1, now_us()))
    client.send(sent(log[-1:]))
    applier.apply(generation)
    assert_reads(store, log)
    store.delete(place("vt", "lock"))  # what time does to a dead holder's
    home.load(store)
    assert sorted(opened(store, "vt")) == [1, 2]
    assert OnlineClient(store).live_statistics(["v1"]).release == 2
    assert_reads(store, log)  # before any consumer looked at the new release
    assert counters(store, applier.keys, 2)["user"]["late"] == 6

    # Back to the first release: its generation goes on from where it was.
    log.append(Shown("n4", "u2", "v5", now_us(), 1, now_us()))
    client.send(sent(log[-1:]))
    switch_back(store, SETTINGS.online, 1)
    [generation] = live.synchronise(home.tables, applier)
    assert generation.release == 1
    applier.apply(generation)
    assert_reads(store, log)
    assert first_us > generation.as_of_us


def test_a_generation_whose_opening_died_is_opened(
    home: SmallHome, store: redis.Redis, log: list[Shown]
) -> None:
    applier = live.begin(store, SETTINGS)
    [generation] = live.synchronise(home.tables, applier)
    store.delete(*store.keys("vt:live:*"))  # it is entered, and nothing else is done
    log.append(Shown("n1", "u1", "v2", now_us(), 1))
    EventClient(store).send(sent(log[-1:]))
    applier.apply(generation)
    [generation] = live.synchronise(home.tables, applier)
    applier.apply(generation)
    assert_reads(store, log)


def test_a_generation_that_no_release_names_goes(home: SmallHome, store: redis.Redis) -> None:
    applier = live.begin(store, SETTINGS)
    live.synchronise(home.tables, applier)
    for number in range(2):
        # Of each view something changes: one that stays as it is stays with its generation.
        shown = Shown(f"x{number}", "u1", "v1", now_us() - 1_000, 1)
        home.deliver([shown, replace(shown, event=f"y{number}", clicked_us=shown.us + 1)])
        time.sleep(0.01)
        home.release()
        forgetful = SETTINGS.online.model_copy(update={"keep": timedelta(0)})
        materialize(home.tables, store, forgetful)
    assert sorted(opened(store, "vt")) == [1, 2, 3]
    assert [g.release for g in live.synchronise(home.tables, applier)] == [3]
    assert sorted(opened(store, "vt")) == [3]
    assert {key.split(b":")[2] for key in store.keys("vt:live:*")} == {b"3"}


def test_bad_events_land_with_their_reason(home: SmallHome, store: redis.Redis) -> None:
    applier = live.begin(store, SETTINGS)
    keys, client = applier.keys, EventClient(store, max_ahead=10 * DAY)
    client.send([{"kind": "click"}, Shown("a", "u1", "nowhere", now_us(), 1).impression()])
    client.send([Shown("b", "u1", "v1", now_us() + 2 * 86_400_000_000).impression()])
    store.xadd(keys.stream("user", 0), {"poison": "\N{PILE OF POO}"})
    store.xadd(keys.stream("user", 0), {b"k": b"\xff"})
    client.send([Shown("c", "u1", "v1", now_us(), 1).impression()])
    client.send([Shown("c", "u1", "v2", now_us(), 1).impression()])
    result = landed(home, store, keys)
    assert result.impressions == 1
    assert result.refused == {
        "unknown_video": 1,
        "empty_id": 1,
        "future_time": 1,
        "malformed": 2,
        "conflicting_rows": 1,
    }
    reasons = [row["reason"] for row in home.tables.read(DEAD_EVENTS).to_pylist()]
    assert sorted(reasons) == sorted(
        ["empty_id", "future_time", "malformed", "malformed", "conflicting_rows"]
    )
    [row] = home.tables.read(rejected(IMPRESSIONS)).to_pylist()
    assert row["reason"] == "unknown_video"
    # A landing that died before it noted its cursor is repeated, and adds nothing.
    store.delete(place("vt", "landed"))
    landed(home, store, keys)
    assert home.tables.read(DEAD_EVENTS).num_rows == 5
    assert home.tables.read(IMPRESSIONS).num_rows == 13


def test_an_event_ahead_of_the_clock_waits_for_its_time(
    home: SmallHome, store: redis.Redis
) -> None:
    keys = live.begin(store, SETTINGS).keys
    ahead = Shown("a", "u1", "v1", now_us() + 1_500_000, 1)
    EventClient(store).send([ahead.impression()])
    assert landed(home, store, keys) == Landed(1, 0, 0, 0, held=1)
    assert not_landed(store, keys) == 1
    time.sleep(max(0, (ahead.us - now_us()) / 1e6) + 0.01)
    assert landed(home, store, keys) == Landed(0, 1)
    assert not_landed(store, keys) == 0


def test_streams_lose_what_no_generation_needs_and_what_has_landed(
    home: SmallHome, store: redis.Redis
) -> None:
    applier = live.begin(store, SETTINGS)
    keys = applier.keys
    [generation] = live.synchronise(home.tables, applier)
    old_ms = generation.as_of_us // 1000 - 5_000
    for number in range(300):  # entries of five seconds before the release
        for part, bucket in parts_of(keys):
            store.xadd(keys.stream(part, bucket), {"x": "y"}, id=f"{old_ms}-{number + 1}")
    assert trim(store, keys, 86_400_000_000) == 0  # an event may lie a day ahead of its entry
    trim(store, keys, 1_000_000)
    lengths = {p: store.xlen(keys.stream(p, b)) for p, b in parts_of(keys)}
    assert lengths["user"] == 300
    assert lengths["video"] < 300
    landed(home, store, keys)
    trim(store, keys, 1_000_000)
    assert store.xlen(keys.stream("user", 0)) < 300
    # A generation of before can't be had any more, the open one can be opened again.
    assert int(store.get(place("vt", TRIMMED))) == generation.as_of_us
    assert not open_generation(store, keys, Generation(0, generation.as_of_us - 1))
    assert open_generation(store, keys, generation)
    assert sorted(opened(store, "vt")) == [1]


def test_a_prefix_that_was_emptied_and_loaded_with_other_buckets_is_followed(
    home: SmallHome, store: redis.Redis, log: list[Shown]
) -> None:
    applier = live.begin(store, SETTINGS)
    live.synchronise(home.tables, applier)
    store.flushall()
    with pytest.raises(StoreError, match="nothing"):
        live.synchronise(home.tables, applier)
    materialize(home.tables, store, SETTINGS.online.model_copy(update={"buckets": 3}))
    log.append(Shown("n1", "u1", "v2", now_us(), 1))
    EventClient(store).send(sent(log[-1:]))
    [generation] = live.synchronise(home.tables, applier)
    assert applier.apply(generation) == 2
    assert_reads(store, log)
    assert store.get(place("vt", "applying"))  # so that the next load prepares its generation
