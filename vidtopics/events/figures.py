"""What streams, generations and Redis are like at a moment: one look, for monitoring.

A look costs some messages and reads no state: cursors, the first waiting entry of each stream,
lengths, and what `INFO` says of memory and the append-only log.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import redis

from vidtopics.events.faults import OUTCOME as FAILED
from vidtopics.events.generations import counters, lags, opened, parts_of, waits_ms
from vidtopics.events.trimming import LANDED
from vidtopics.layout import place
from vidtopics.layout.live import PARTS, LiveKeys, Part
from vidtopics.online.connections import Connection

OUTCOMES = ("applied", "duplicate", "late", "early", "malformed", "implied", FAILED)
"""What becomes of an entry; one that never came about counts 0, as a counter that begins at its
first event hides that event from `increase`."""
COUNTED = 1_000
"""Waiting entries of a bucket that are counted at most: counting them costs Redis time."""
_COUNT = "return #redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])"


@dataclass(frozen=True)
class Node:
    """A server's memory (bytes; `limit` 0: none), and whether it could write its log last time."""

    used: int
    limit: int
    log_written: bool


@dataclass(frozen=True)
class Figures:
    """One look.

    Attributes:
        lag_s: by release and part, how long the first entry that isn't applied has waited, in the
            bucket that is furthest behind; 0: none waits.
        waiting: likewise, entries that aren't applied; COUNTED of a bucket at most.
        outcomes: by release, part and outcome, entries since the generation was opened.
        streams: entries by part, applied or not.
        dead: dead letters that are in Redis.
        landing_age_s: how long the first event that hasn't landed has waited; 0: none waits.
        generations: that are open.
        nodes: by address.
    """

    lag_s: Mapping[tuple[int, Part], float]
    waiting: Mapping[tuple[int, Part], int]
    outcomes: Mapping[tuple[int, Part, str], int]
    streams: Mapping[Part, int]
    dead: int
    landing_age_s: float
    generations: int
    nodes: Mapping[str, Node]

    def worst_lag_s(self) -> float:
        """Of all generations and parts."""
        return max(self.lag_s.values(), default=0.0)


def look(connection: Connection, keys: LiveKeys, releases: Collection[int]) -> Figures:
    """The figures now, of the generations of `releases`: those that readers go by.

    Others, which a rollback may bring back, stand still and are behind by design.

    Raises:
        redis.exceptions.RedisError: a server can't be reached.
    """
    lag_s: dict[tuple[int, Part], float] = {}
    waiting: dict[tuple[int, Part], int] = {}
    outcomes: dict[tuple[int, Part, str], int] = {}
    for release in releases:
        for part, buckets in lags(connection, keys, release).items():
            lag_s[release, part] = max(buckets) / 1000
            behind = [bucket for bucket, lag in enumerate(buckets) if lag]
            waiting[release, part] = sum(_waiting(connection, keys, release, part, behind))
        for part, counts in counters(connection, keys, release).items():
            known = dict.fromkeys(OUTCOMES, 0) | counts
            outcomes |= {(release, part, name): count for name, count in known.items()}
    lengths = _lengths(connection, keys)
    return Figures(
        lag_s,
        waiting,
        outcomes,
        lengths,
        cast("int", connection.xlen(keys.dead)),
        landing_age_ms(connection, keys) / 1000,
        len(opened(connection, keys.prefix)),
        dict(_nodes(connection)),
    )


def landing_age_ms(connection: Connection, keys: LiveKeys) -> int:
    """How long the first event that hasn't landed has waited, in milliseconds; 0: none waits."""
    landed = cast("Mapping[bytes, bytes]", connection.hgetall(place(keys.prefix, LANDED)))
    streams = [
        (keys.stream("user", bucket), landed.get(f"user:{bucket}".encode()))
        for bucket in range(keys.layout.buckets)
    ]
    return max(waits_ms(connection, streams))


def _waiting(
    connection: Connection, keys: LiveKeys, release: int, part: Part, buckets: Collection[int]
) -> list[int]:
    """Entries after the cursor of each bucket; COUNTED at most."""
    with connection.pipeline(transaction=False) as pipe:
        for bucket in buckets:
            pipe.hget(keys.state(release, part, "at", bucket), "cursor")
        cursors = pipe.execute()
        for bucket, cursor in zip(buckets, cursors, strict=True):
            first = f"({cursor.decode()}" if cursor else "-"
            pipe.eval(_COUNT, 1, keys.stream(part, bucket), first, str(COUNTED))
        return cast("list[int]", pipe.execute())


def _lengths(connection: Connection, keys: LiveKeys) -> dict[Part, int]:
    with connection.pipeline(transaction=False) as pipe:
        for part, bucket in parts_of(keys):
            pipe.xlen(keys.stream(part, bucket))
        lengths = pipe.execute()
    sums: dict[Part, int] = dict.fromkeys(PARTS, 0)
    for (part, _), length in zip(parts_of(keys), lengths, strict=True):
        sums[part] += length
    return sums


def _nodes(connection: Connection) -> Iterator[tuple[str, Node]]:
    """The server, or the primaries of a cluster."""
    memory, log = (_info(connection, section) for section in ("memory", "persistence"))
    for name, facts in memory.items():
        written = log[name].get("aof_last_write_status", "ok") == "ok"
        yield name, Node(int(facts["used_memory"]), int(facts["maxmemory"]), written)


def _info(connection: Connection, section: str) -> dict[str, dict[str, Any]]:
    is_cluster = isinstance(connection, redis.RedisCluster)
    target = {"target_nodes": redis.RedisCluster.PRIMARIES} if is_cluster else {}
    info: Any = connection.info(section, **target)
    return info if is_cluster else {"redis": info}
