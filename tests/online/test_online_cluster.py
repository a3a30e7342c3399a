"""Reads from a cluster: messages, moving slots, lost nodes, more threads than connections."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import redis
import redis.asyncio
from redis.cluster import key_slot
from small_store import count_timeouts, put, put_clicks, value

from benchmarks.redis_nodes import (
    Node,
    cluster_of,
    debian_server,
    in_step,
    owner,
    promote,
    replica_of,
    settled,
    valkey_server,
    wait,
)
from vidtopics.layout import Layout
from vidtopics.online import AsyncOnlineClient, Features, OnlineClient, connect

IDS = [f"v{n}" for n in range(400)]
ASKED = [*reversed(IDS), "unknown", "v7"]
ROWS = [int(i[1:]) if i != "unknown" else -1 for i in ASKED]


def row(video: str) -> dict[str, object]:
    """A row that says which video it is of."""
    return {**value(int(video[1:])), "topic_count": 1}


def numbers(features: Features) -> list[int]:
    """Which video each row is of, -1 where there is none."""
    ids = features["topic_ids"][:, 0].tolist()
    assert features["label"].tolist() == [None if i < 0 else f"topic {i}" for i in ids]
    return ids


@pytest.fixture(scope="module", params=["valkey", pytest.param("debian", marks=pytest.mark.slow)])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Node]]:
    """A cluster that these tests may break; what is in it outlives a kill.

    Without `always` a server whose disk is busy puts off what it appends for up to two seconds.
    """
    if request.param == "debian" and not debian_server():
        pytest.skip("no redis-server on this machine")
    binary = debian_server() if request.param == "debian" else valkey_server()
    folder = tmp_path_factory.mktemp("nodes")
    durable = {"appendonly": "yes", "appendfsync": "always"}
    with cluster_of(folder, binary=binary, cluster_node_timeout="2000", **durable) as cluster:
        with connect(url_of(cluster), timeout_s=20) as connection:
            put(connection, {i: row(i) for i in IDS})
        yield cluster


def url_of(nodes: list[Node]) -> str:
    return "redis+cluster://" + ",".join(f"127.0.0.1:{n.port}" for n in nodes)


@contextmanager
def clients(nodes: list[Node], **options: Any) -> Iterator[list[Callable[[], Features]]]:
    """Reads of all ids by a sync and an async client that know the cluster as it is now."""
    loop = asyncio.new_event_loop()
    client, waiting = (
        OnlineClient.from_url(url_of(nodes), **options),
        AsyncOnlineClient.from_url(url_of(nodes), **options),
    )
    reads = [
        lambda: client.read("topics", ASKED),
        lambda: loop.run_until_complete(waiting.read("topics", ASKED)),
    ]
    try:
        for read in reads:
            assert numbers(read()) == ROWS
        yield reads
    finally:
        client.close()
        loop.run_until_complete(waiting.aclose())
        loop.close()


def test_each_bucket_is_one_command_for_all_views_and_ids(
    cluster_store: redis.RedisCluster, cluster: str
) -> None:
    put(cluster_store, {i: row(i) for i in IDS[:50]})
    put(cluster_store, {i: value(9) for i in IDS[:50]}, view="more")
    client = OnlineClient.from_url(cluster, timeout_s=20)
    client.read("topics", [])
    cluster_store.config_resetstat(target_nodes="all")
    features = client.read_views(["topics", "more"], IDS[:50])
    assert numbers(features["topics"]) == list(range(50))
    assert features["more"]["topic_count"].tolist() == [9] * 50
    sent: Counter[str] = Counter()
    for stats in cluster_store.info("commandstats", target_nodes="primaries").values():
        sent.update(
            {
                name: s["calls"]
                for name, s in stats.items()
                if "config" not in name and "info" not in name
            }
        )
    buckets = {crc32(i.encode()) % 16 for i in IDS[:50]}
    assert sent == {"cmdstat_mget": len(buckets) + 1}  # and one for the directory's version


def test_a_read_is_one_message_to_each_node(
    cluster: str, cluster_store: redis.RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cluster_store, {i: value(1) for i in IDS})
    client = OnlineClient.from_url(cluster, timeout_s=20)
    client.read("topics", IDS)
    sent, real = [], redis.Connection.send_packed_command
    monkeypatch.setattr(
        redis.Connection,
        "send_packed_command",
        lambda c, *a, **k: (sent.append(c.port), real(c, *a, **k))[1],
    )
    client.read("topics", IDS)
    assert (len(sent), len(set(sent))) == (3, 3)
    sent.clear()
    assert client.queues(list(range(40)), epoch=1, limit=5) == [[]] * 40
    assert len(sent) == len(set(sent))


def test_one_seed_that_answers_is_enough(cluster: str, cluster_store: redis.RedisCluster) -> None:
    put(cluster_store, {"a": value(1)})
    dead = cluster.replace("redis+cluster://", "redis+cluster://127.0.0.1:1,")
    assert OnlineClient.from_url(dead, timeout_s=20).read("topics", ["a"])[
        "topic_count"
    ].tolist() == [1]

    async def read() -> list[int]:
        client = AsyncOnlineClient.from_url(dead, timeout_s=20)
        try:
            return (await client.read("topics", ["a"]))["topic_count"].tolist()
        finally:
            await client.aclose()

    assert asyncio.run(read()) == [1]


def test_more_threads_than_connections_wait_for_their_turn(
    cluster: str, cluster_store: redis.RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread waits in vain, as two would that wait for each other's connection."""
    put(cluster_store, {i: row(i) for i in IDS})
    client = OnlineClient.from_url(
        f"{cluster}?client_name=threads", max_connections=2, timeout_s=20
    )
    real, refusals = redis.BlockingConnectionPool.get_connection, []

    def get_connection(self: redis.BlockingConnectionPool, *arguments: Any, **options: Any) -> Any:
        try:
            return real(self, *arguments, **options)
        except redis.ConnectionError as error:
            refusals.append(error)
            raise

    monkeypatch.setattr(redis.BlockingConnectionPool, "get_connection", get_connection)
    client.directory()

    def read(n: int) -> bool:
        queues = client.queues(
            range(40) if n % 2 else range(39, -1, -1), epoch=1, limit=1
        )  # nodes in one order, or in another
        return (
            numbers(client.read("topics", IDS[n : n + 3])) == [n, n + 1, n + 2]
            and queues == [[]] * 40
        )

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(read, range(300)))
    assert refusals == []
    assert connections(cluster_store, "threads") == [2, 2, 2]


def test_more_tasks_than_turns_wait(cluster: str, cluster_store: redis.RedisCluster) -> None:
    put(cluster_store, {i: row(i) for i in IDS})

    async def read_all() -> list[list[int]]:
        client = AsyncOnlineClient.from_url(
            f"{cluster}?client_name=tasks", max_connections=3, timeout_s=20
        )
        try:
            features = await asyncio.gather(
                *(client.read("topics", IDS[n : n + 20]) for n in range(100))
            )
            assert sorted(connections(cluster_store, "tasks")) == [
                3,
                3,
                4,
            ]  # one more asked a seed for the slots
            return [numbers(f) for f in features]
        finally:
            await client.aclose()

    assert asyncio.run(read_all()) == [list(range(n, n + 20)) for n in range(100)]


def connections(store: redis.RedisCluster, name: str) -> list[int]:
    """How many connections of that name each node has."""
    connections_of_nodes = [node.redis_connection.client_list() for node in store.get_primaries()]
    return [sum(c["name"] == name for c in clients) for clients in connections_of_nodes]


def test_a_slot_that_moves_gives_right_rows_at_every_step(nodes: list[Node]) -> None:
    """Keys of bucket 3 go to another node: none, half, all of them, then the slot itself."""
    slot = key_slot(b"{%s}" % Layout().tags[3].encode())
    plain = [redis.Redis.from_url(n.url) for n in nodes]
    names = [c.cluster("MYID").decode() for c in plain]
    source = next(
        i for i, c in enumerate(plain) if any(int(a) <= slot <= int(b) for a, b in own_slots(c))
    )
    target = (source + 1) % 3
    keys = plain[source].cluster("GETKEYSINSLOT", slot, 10_000)
    assert len(keys) > 20
    with clients(nodes) as reads:
        plain[target].cluster("SETSLOT", slot, "IMPORTING", names[source])
        plain[source].cluster("SETSLOT", slot, "MIGRATING", names[target])
        for part in ([], keys[: len(keys) // 2], keys[len(keys) // 2 :]):
            if part:
                plain[source].migrate("127.0.0.1", nodes[target].port, part, 0, 5_000)
            for read in reads:
                assert numbers(read()) == ROWS
        for c in (plain[target], plain[source], plain[3 - source - target]):
            c.cluster("SETSLOT", slot, "NODE", names[target])
        for read in reads:
            assert numbers(read()) == ROWS
    assert plain[source].cluster("COUNTKEYSINSLOT", slot) == 0


def own_slots(connection: redis.Redis) -> list[tuple[str, str]]:
    own_entry = next(
        row for row in connection.cluster("NODES").values() if "myself" in row["flags"]
    )
    return [(s[0], s[-1]) for s in own_entry["slots"]]


def test_a_node_that_hangs_costs_one_timeout(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis-py's way takes one timeout for each of the node's six commands."""
    timeouts = count_timeouts(monkeypatch)
    with clients(nodes, timeout_s=1) as reads:
        for read in reads:
            timeouts.clear()
            with nodes[1].hanging(), pytest.raises(redis.TimeoutError):
                read()
            assert timeouts == [nodes[1].port]
            whole(nodes)
            assert numbers(read()) == ROWS


def test_a_node_that_dies_fails_reads_until_it_is_back_and_spoils_no_row(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = count_timeouts(monkeypatch)
    with clients(nodes, timeout_s=20) as reads:
        nodes[2].kill()
        for read in reads:
            with pytest.raises(redis.RedisError):
                read()
        assert timeouts == []  # its port refuses at once: nobody waits for it
        nodes[2].start()
        whole(nodes)
        for read in reads:
            assert numbers(read()) == ROWS


def whole(nodes: list[Node]) -> None:
    """Wait until every node sees the cluster as it was."""

    def ready() -> bool:
        try:
            return all(settled(c, 3) for c in plain)
        except redis.RedisError:
            return False

    with ExitStack() as stack:
        plain = [stack.enter_context(redis.Redis.from_url(n.url)) for n in nodes]
        wait(ready, "a cluster that is whole again")


def test_recent_clicks_come_from_the_node_that_has_them(nodes: list[Node]) -> None:
    with connect(url_of(nodes)) as connection:
        put_clicks(connection, {f"u{n}": [f"v{n}", "v"] for n in range(40)})
        client = OnlineClient(connection)
        assert [client.recent_clicks(f"u{n}") for n in range(40)] == [
            [f"v{n}", "v"] for n in range(40)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_the_replica_of_a_lost_node_is_found(tmp_path: Path, end: signal.Signals) -> None:
    with (
        cluster_of(tmp_path / "primaries", binary=valkey_server()) as nodes,
        replica_of(nodes[0], tmp_path / "replica", binary=valkey_server()) as replica,
        redis.Redis.from_url(nodes[1].url) as second,
    ):
        with connect(url_of(nodes), timeout_s=20) as connection:
            put(connection, {i: row(i) for i in IDS})
        wait(lambda: in_step(nodes[0], replica), "a replica that holds all")
        with clients(nodes, timeout_s=1) as reads:
            nodes[0].process.send_signal(end)
            promote(replica)
            wait(lambda: owner(second, 0) == replica.port, "the others to know who took over")
            for read in reads:
                failed = []
                while len(failed) < 3:
                    try:
                        assert numbers(read()) == ROWS
                        break
                    except redis.RedisError as error:
                        failed.append(error)
                assert len(failed) <= (1 if end == signal.SIGSTOP else 0), failed
