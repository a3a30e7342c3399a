"""Redis at its `maxmemory` takes nothing and evicts nothing; the log goes on, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from events_home import SETTINGS, SmallHome, now_us
from live_worlds import DAY, Shown, applier, user_state, video_counts

from benchmarks.redis_nodes import node, valkey_server
from vidtopics.contracts import IMPRESSIONS
from vidtopics.events.generations import counters, keys_of
from vidtopics.events.trimming import trim
from vidtopics.ingest import landing
from vidtopics.materialization.live import begin, synchronise
from vidtopics.online import OnlineClient
from vidtopics.online.events import EventClient, NotAcknowledgedError


@pytest.fixture
def full_store(tmp_path: Path) -> Iterator[redis.Redis]:
    """A server whose memory is its own to limit."""
    with (
        node(tmp_path / "redis", binary=valkey_server(), maxmemory_policy="noeviction") as server,
        redis.Redis.from_url(server.url) as connection,
    ):
        yield connection


def test_a_full_redis_takes_nothing_and_loses_nothing(
    full_store: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "ENTRIES", 2)  # several rounds, each of which is noted
    home = SmallHome(tmp_path)
    home.deliver([Shown("d1", "u1", "v1", now_us() - 9_000_000, 1)])
    home.release()
    home.load(full_store)
    begin(full_store, SETTINGS)
    [generation] = synchronise(home.tables, applier(full_store, keys_of(full_store, "vt")))
    events = EventClient(full_store)
    first, later = ([Shown(f"{x}{i}", "u2", "v2", now_us(), 1) for i in range(6)] for x in "ab")
    ahead = Shown("ahead", "u2", "v2", now_us() + 3_600_000_000, 1)
    assert events.send([one.impression() for one in [*first, ahead]]).acknowledged == 7

    full_store.config_set("maxmemory", "1mb")
    with pytest.raises(NotAcknowledgedError, match=r"found 0 acknowledged .*maxmemory") as failure:
        events.send([one.impression() for one in later])
    assert failure.value.acknowledged == 0
    keys = keys_of(full_store, "vt")
    consumer = applier(full_store, keys)
    lines: list[str] = []
    consumer.warn = lines.append
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        consumer.apply(generation)
    assert (lines, counters(full_store, keys, generation.release)["user"]) == ([], {})
    assert OnlineClient(full_store).live_statistics(["v1"]).exposures.tolist() == [1]

    landed = landing.land(home.tables, full_store, keys, SETTINGS.ingest, DAY)
    assert (landed.impressions, landed.held) == (6, 1)
    assert landing.not_landed(full_store, keys) == 1
    assert trim(full_store, keys, timedelta(0) // timedelta(microseconds=1)) == 0
    rows = home.tables.read(IMPRESSIONS, columns=["event_id"])["event_id"].to_pylist()
    assert sorted(rows) == ["a0", "a1", "a2", "a3", "a4", "a5", "d1"]

    full_store.config_set("maxmemory", "0")
    assert events.send([one.impression() for one in later]).acknowledged == 6
    consumer.apply(generation)
    assert video_counts(full_store, keys, generation.release, "v2") == (13, 0)
    assert user_state(full_store, keys, generation.release, "u2").exposures == 13
    again = landing.land(home.tables, full_store, keys, SETTINGS.ingest, DAY)
    assert (again.impressions, again.already_there) == (6, 0)
