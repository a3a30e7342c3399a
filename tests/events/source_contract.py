"""The same events by every source: what they are, and what plain Python says becomes of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from events_home import SETTINGS, VIDEOS, SmallHome
from live_worlds import DAY, Shown, applier, assert_equals_batch, new_store, sent

from vidtopics.contracts import CLICKS, DEAD_EVENTS, IMPRESSIONS
from vidtopics.events.generations import Generation, counters, keys_of, open_generation
from vidtopics.ingest.landing import land
from vidtopics.times import micros

LIMIT = 3


def drawn_log(count: int, now_us: int, *, seed: int = 11) -> list[Shown]:
    """Impressions over the last second, half of them since the generation's as-of time; some are
    clicked, some of those watched.
    """
    rng, log = random.Random(seed), []
    for number in range(count):
        us = now_us - 1_000_000 + number * 990_000 // count
        clicked_us = us + rng.randint(0, 900) if rng.random() < 0.5 else None
        watch = 1.5 if clicked_us and rng.random() < 0.5 else None
        user, video = f"u{rng.randrange(8)}", rng.choice(VIDEOS)
        log.append(Shown(f"e{number}", user, video, us, number % 9 + 1, clicked_us, watch))
    return log


def shuffled_and_repeated(log: Iterable[Shown], seed: int = 5) -> list[Mapping[str, Any]]:
    """What is to be told of a log, out of order, a third of it twice."""
    rng, events = random.Random(seed), sent(log)
    events += rng.sample(events, len(events) // 3)
    rng.shuffle(events)
    return events


def lines(events: Iterable[object]) -> str:
    return "".join(f"{json.dumps(event)}\n" for event in events)


def rows(events: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Events as a table: a column for each field, of those that lack it nothing."""
    events = list(events)
    names = dict.fromkeys(name for event in events for name in event)
    return pa.Table.from_pylist([{name: event.get(name) for name in names} for event in events])


def ipc_stream(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


class Receiver:
    """A home with videos, and a Redis whose one generation gets what sources send."""

    def __init__(self, root: Path, connection: Any, now_us: int, *, buckets: int = 2) -> None:
        self.store, self.small = connection, SmallHome(root)
        self.small.deliver([])
        self.generation = Generation(1, now_us - 500_000)
        self.keys = new_store(connection, buckets=buckets)
        assert open_generation(connection, self.keys, self.generation)

    def assert_has(self, log: list[Shown]) -> None:
        """Live state and landed rows are those of a log; nothing else, nothing twice."""
        assert self.keys == keys_of(self.store, "vt")
        applier(self.store, self.keys, recent=LIMIT).apply(self.generation)
        assert counters(self.store, self.keys, 1)["video"]["applied"] > 0  # not all of before it
        assert_equals_batch(self.store, self.keys, self.generation, log, LIMIT)
        land(self.small.tables, self.store, self.keys, SETTINGS.ingest, DAY)
        shown = [(e.event, e.user, e.video, e.us, e.position) for e in log]
        clicked = [(e.event, e.user, e.video, e.clicked_us, e.watch) for e in log if e.clicked_us]
        self._assert_rows(IMPRESSIONS, "position", shown)
        self._assert_rows(CLICKS, "watch_seconds", clicked)

    def dead(self) -> list[tuple[str, str]]:
        """Reasons and details of the dead letters that landed."""
        table = self.small.tables.read(DEAD_EVENTS).to_pylist()
        return sorted((row["reason"], row["detail"]) for row in table)

    def entries(self) -> int:
        """Events in the streams of users, repeated ones too."""
        buckets = range(self.keys.layout.buckets)
        return sum(self.store.xlen(self.keys.stream("user", b)) for b in buckets)

    def _assert_rows(self, table: Any, last: str, expected: list[tuple[Any, ...]]) -> None:
        names = ("event_id", "user_id", "video_id")
        landed = [
            (*(row[name] for name in names), micros(row["event_timestamp"]), row[last])
            for row in self.small.tables.read(table).to_pylist()
        ]
        different = set(landed) ^ set(expected)
        assert sorted(landed) == sorted(expected), [len(landed), len(expected), [*different][:4]]
