"""Redis as a host sees it: reachable, never evicting, evenly loaded, with scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import redis
from redis.crc import key_slot

from vidtopics.doctor.findings import Finding
from vidtopics.errors import SettingsError, StoreError
from vidtopics.faults import size
from vidtopics.online import OnlineClient
from vidtopics.online.connections import Connection, connect
from vidtopics.server import named_url, running

FULL_SHARE = 0.8
"""Above this share of `maxmemory` a rebuild, which needs a view twice, may not fit."""
SKEW = 2
"""Times the mean: a node with more of the buckets than this is a warning."""


def examine_store(home: Path, prefix: str) -> list[Finding]:
    """REDIS_URL's server or cluster, or the home's own while it runs."""
    try:
        url = named_url(home) or running(home)
    except SettingsError as error:
        return [Finding("Redis", "missing", str(error), "set or correct REDIS_URL")]
    if not url:
        return [
            Finding(
                "Redis", "ok", "no REDIS_URL: the embedded server, which starts when it is needed"
            )
        ]
    try:
        with connect(url) as connection:
            return list(_checks(connection, prefix))
    except (redis.RedisError, SettingsError) as error:
        mend = "start the server, or correct or unset REDIS_URL"
        return [Finding("Redis", "missing", str(error), mend)]


def _checks(connection: Connection, prefix: str) -> Iterator[Finding]:
    yield _eviction(connection)
    yield _scripts(connection)
    yield _memory(connection)
    if isinstance(connection, redis.RedisCluster):
        yield _spread(connection, prefix)


def _eviction(connection: Connection) -> Finding:
    """Values must not be evicted, as a missing one looks like none."""
    policies = sorted({node["maxmemory_policy"] for node in _info(connection).values()})
    if policies != ["noeviction"]:
        mend = "CONFIG SET maxmemory-policy noeviction on every node, and in its configuration"
        text = f"maxmemory-policy {', '.join(policies)}: values may vanish"
        return Finding("Redis", "warning", text, mend)
    return Finding("Redis", "ok", "answers, maxmemory-policy noeviction")


def _scripts(connection: Connection) -> Finding:
    """Writes are scripts; Valkey from 9.1 on may run without its Lua module."""
    cluster = isinstance(connection, redis.RedisCluster)
    target = {"target_nodes": redis.RedisCluster.PRIMARIES} if cluster else {}
    try:
        cast("Any", connection).execute_command("EVAL", "return 1", 0, **target)
    except redis.exceptions.NoPermissionError:
        text = "this user may not run them: right for a host that only reads"
        return Finding("Redis scripts", "warning", text, "ACL SETUSER ... +eval +evalsha to load")
    except redis.ResponseError as error:
        mend = "load the server's Lua module: materialize and Feast's writes are scripts"
        return Finding("Redis scripts", "missing", str(error), mend)
    return Finding("Redis scripts", "ok", "EVAL answers")


def _memory(connection: Connection) -> Finding:
    """The node that holds most, beside what it may hold."""
    nodes = {name: node for name, node in _info(connection).items() if node["maxmemory"]}
    largest = max(_info(connection).items(), key=lambda item: int(item[1]["used_memory"]))
    name, node = max(
        nodes.items(),
        key=lambda item: item[1]["used_memory"] / item[1]["maxmemory"],
        default=largest,
    )
    used, limit = int(node["used_memory"]), int(node["maxmemory"])
    of = f"{size(used)} of {size(limit)}" if limit else f"{size(used)}, no maxmemory"
    text = f"largest node {name}: {of}" if len(_info(connection)) > 1 else of
    if limit and used > FULL_SHARE * limit:
        mend = "raise maxmemory, shorten online.keep, or add nodes: a rebuild needs a view twice"
        return Finding("Redis memory", "warning", text, mend)
    return Finding("Redis memory", "ok", text)


def _spread(cluster: redis.RedisCluster, prefix: str) -> Finding:
    """How many of a prefix's buckets each primary has."""
    try:
        directory = OnlineClient(cluster, prefix=prefix).directory()
    except StoreError as error:
        return Finding("Redis slots", "ok", f"nothing to spread: {error}")
    primaries = [node.name for node in cast("Any", cluster).get_primaries()]
    heads = directory.keys(next(iter(directory.views))).heads if directory.views else []
    owners = (cluster.nodes_manager.get_node_from_slot(key_slot(head)) for head in heads)
    return spread_finding(Counter(node.name for node in owners), primaries)


def spread_finding(buckets: Counter[str], primaries: list[str]) -> Finding:
    """The finding on the number of buckets of each primary.

    >>> spread_finding(Counter(a=2, b=2), ["a", "b"]).found
    '4 buckets on 2 nodes: 2 to 2 each'
    >>> spread_finding(Counter(a=5, b=3), ["a", "b", "c", "d"]).state
    'warning'
    """
    counts, total = [buckets[name] for name in primaries], buckets.total()
    text = f"{total} buckets on {len(primaries)} nodes: {min(counts)} to {max(counts)} each"
    if max(counts) <= SKEW * total / len(primaries):
        return Finding("Redis slots", "ok", text)
    busiest = max(primaries, key=lambda name: buckets[name])
    mend = "load into a new prefix with more online.buckets (64), or move slots between nodes"
    return Finding("Redis slots", "warning", f"{text}, most on {busiest}", mend)


def _info(connection: Connection) -> dict[str, dict[str, Any]]:
    """INFO memory of the server, or of every primary and replica, by address."""
    cluster = isinstance(connection, redis.RedisCluster)
    target = {"target_nodes": redis.RedisCluster.ALL_NODES} if cluster else {}
    memory: Any = connection.info("memory", **target)
    return memory if cluster else {"the server": memory}
