"""Topic queues and recent clicks as lists in Redis, each list swapped as a whole.

Both swaps know which lists lie there from what they wrote last. Where that isn't known (`settled` false, `before` None: the first run,
one that died halfway) they look for them with SCAN.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

import duckdb
import pyarrow as pa
import redis

from vidtopics.layout import Structures, place
from vidtopics.materialization.writer import chunks

# KEYS: a list. ARGV: its new items; Lua's stack holds some thousands at once.
SWAP = """
redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 1000 do
  redis.call('RPUSH', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
"""


def swap_queues(
    connection: redis.Redis, structures: Structures, rows: pa.Table, facts: dict[str, object], *, settled: bool
) -> int:
    """Swap every topic's list for its rows of `topic_queues`, drop lists of topics that are gone; the number of lists.

    The catalogue (epoch, topics by falling clicks) is written last: until then readers stay with the old epoch's lists.
    """
    found = _query(
        "SELECT topic_epoch, topic_id, list(video_id ORDER BY queue_position) AS videos, sum(queue_ctr * queue_exposures) AS clicks"
        " FROM rows GROUP BY ALL ORDER BY clicks DESC, topic_id",
        rows=rows,
    )
    _swap(connection, ((structures.queue(epoch, topic), videos) for epoch, topic, videos, _ in found))
    before = json.loads(
        cast("bytes | None", connection.hget(place(structures.prefix, "structures"), "topic_queues")) or b"{}"
    )
    now = {"epoch": found[0][0] if found else before.get("epoch", 0), "topics": [row[1] for row in found]}
    connection.hset(place(structures.prefix, "structures"), "topic_queues", json.dumps(now | facts))
    named = {structures.queue(before["epoch"], topic) for topic in before.get("topics", [])}
    old = named if settled else _held(connection, f"{structures.prefix}:queue:*")
    _drop(connection, old - {structures.queue(epoch, topic) for epoch, topic, _, _ in found})
    return len(found)


def swap_clicks(
    connection: redis.Redis, structures: Structures, rows: pa.Table, before: pa.Table | None, facts: dict[str, object]
) -> int:
    """Swap the lists of users whose recent clicks differ from `before`, drop those of users who are gone; the number of lists."""
    changed = _query(
        "SELECT user_id, rows.recent_video_ids AS videos FROM rows FULL JOIN before USING (user_id)"
        " WHERE rows.recent_video_ids IS DISTINCT FROM before.recent_video_ids ORDER BY user_id",
        rows=rows,
        before=rows.slice(0, 0) if before is None else before,
    )
    swapped = {structures.clicks(user): videos for user, videos in changed if videos}
    gone = {structures.clicks(user) for user, videos in changed if not videos}
    if before is None:
        gone = _held(connection, f"{structures.prefix}:clicks:*") - swapped.keys()
    _swap(connection, swapped.items())
    _drop(connection, gone)
    connection.hset(place(structures.prefix, "structures"), "user_recent_clicks", json.dumps(facts))
    return len(swapped) + len(gone)


def _query(sql: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    """Rows of a query over tables, in a connection of its own: DuckDB's default one is not for two threads."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return found


def _held(connection: redis.Redis, pattern: str) -> set[bytes]:
    return set(connection.scan_iter(match=pattern, count=1_000))


def _swap(connection: redis.Redis, lists: Iterable[tuple[bytes, Sequence[str]]]) -> None:
    """Each list by one script call: a reader sees the old one or the new one."""
    swap = connection.register_script(SWAP)
    for part in chunks(lists, 1_000):
        with connection.pipeline(transaction=False) as pipe:
            for key, videos in part:
                swap(keys=[cast("str", key)], args=list(videos), client=pipe)
            pipe.execute()


def _drop(connection: redis.Redis, keys: Iterable[bytes]) -> None:
    for part in chunks(keys, 1_000):
        connection.unlink(*part)
