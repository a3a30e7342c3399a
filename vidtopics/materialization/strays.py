"""Keys of generations that nobody knows of any more, as failovers leave them.

A failover may take back that keys were removed and keep the note that they were, or take back the
note that a generation was begun and keep its keys on other nodes. After one the servers are others
than before: then a run looks through all keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import redis

from vidtopics.layout import Layout, place
from vidtopics.materialization.batches import chunks
from vidtopics.materialization.generations import Generations, unlink
from vidtopics.materialization.lock import Lease, fence
from vidtopics.online.connections import Connection


def remove(store: Generations, lease: Lease) -> int:
    """Remove the keys of all generations that are neither live nor listed; how many there were."""
    removed = 0
    of_generation = re.compile(
        rb"%s:(\d+):w?(\d+):\{[0-9a-z]+\}" % re.escape(store.prefix.encode())
    )
    for part in chunks(
        store.connection.scan_iter(match=f"{store.prefix}:[0-9]*", count=1_000), 1_000
    ):
        generation_of = {
            key: (int(m[2]), int(m[1])) for key in part if (m := of_generation.match(key))
        }
        # Looked up after the keys: a writer without a lease enters a view before it writes.
        known = _known(store) if generation_of else set()
        removed += unlink(
            lease, [key for key, generation in generation_of.items() if generation not in known]
        )
    return removed


def _known(store: Generations) -> set[tuple[int, int]]:
    """(view's number, generation) of those that are live or listed."""
    listed = cast(
        "dict[bytes, bytes]", store.connection.hgetall(place(store.prefix, "generations"))
    )
    waiting = {
        (int(number), int(generation))
        for number, generation in (field.split(b":") for field in listed)
    }
    return waiting | {(entry.number, entry.generation) for entry in store.entries().values()}


def servers(connection: Connection, prefix: str, layout: Layout) -> str:
    """The processes that serve directory and buckets, as one text.

    It is another after a restart or a failover; empty where a process doesn't name itself.
    """
    names = sorted(str(info.get("run_id", "")) for info in _infos(connection, prefix, layout))
    return " ".join(names) if all(names) else ""


def _infos(connection: Connection, prefix: str, layout: Layout) -> Iterator[dict[str, Any]]:
    if not isinstance(connection, redis.RedisCluster):
        yield cast("dict[str, Any]", connection.info("server"))
        return
    keys = [place(prefix, "directory"), *(fence(prefix, tag) for tag in layout.tags)]
    for node in {
        node.name: node for node in map(connection.get_node_from_key, keys) if node
    }.values():
        yield cast("dict[str, Any]", connection.info("server", target_nodes=node))
