"""Keys of generations that nobody knows of any more, as failovers leave them.

A failover may take back that keys were removed and keep the note that they were, or take back the
note that a generation was begun and keep its keys on other nodes. After one the servers are others
than before: then a run looks through all keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import redis

from vidtopics.layout import place
from vidtopics.materialization.batches import chunks
from vidtopics.materialization.generations import Generations, unlink
from vidtopics.materialization.lock import Lease, fence


def remove(store: Generations, lease: Lease) -> int:
    """Remove the keys of all generations and sets of queues that nobody knows; how many went."""
    removed = 0
    for part in chunks(store.keys_with_numbers(), 1_000):
        # Looked up after the keys: a writer without a lease enters a view before it writes.
        known = store.known_numbers()
        removed += unlink(lease, [key for key, number in part if number not in known])
    return removed


def servers(store: Generations) -> str:
    """The processes that serve directory and buckets, as one text.

    It is another after a restart or a failover; empty where a process doesn't name itself.
    """
    names = sorted(str(info.get("run_id", "")) for info in _infos(store))
    return " ".join(names) if all(names) else ""


def _infos(store: Generations) -> Iterator[dict[str, Any]]:
    connection, prefix = store.connection, store.prefix
    if not isinstance(connection, redis.RedisCluster):
        yield cast("dict[str, Any]", connection.info("server"))
        return
    keys = [place(prefix, "directory"), *(fence(prefix, tag) for tag in store.layout.tags)]
    for node in {
        node.name: node for node in map(connection.get_node_from_key, keys) if node
    }.values():
        yield cast("dict[str, Any]", connection.info("server", target_nodes=node))
