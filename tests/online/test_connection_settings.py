"""Settings that redis-py takes and can't work with, and ids that no key can have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio
from small_store import put, value

from vidtopics.errors import InputError, SettingsError, StoreError
from vidtopics.online import AsyncOnlineClient, OnlineClient, connect, connect_async
from vidtopics.online.connections import AsyncCluster
from vidtopics.online.requests import encoded

NOBODY = "redis://127.0.0.1:1"
KEYWORDS: list[tuple[str, dict[str, Any]]] = [
    ("max_connections", {"max_connections": 0}),
    ("max_connections", {"max_connections": -1}),
    ("socket_timeout", {"timeout_s": 0}),
    ("socket_timeout", {"timeout_s": -1.0}),
    ("socket_timeout", {"timeout_s": float("nan")}),
    ("socket_timeout", {"timeout_s": float("inf")}),
]
QUERIES = ["max_connections=0", "max_connections=-1", "socket_timeout=0", "socket_timeout=nan"]
QUERIES += ["socket_connect_timeout=-1", "timeout=-1", "health_check_interval=-1", "db=-1"]
QUERIES += ["port=0", "port=x", "decode_responses=True"]


@pytest.mark.timeout(60)  # redis-py fills a queue without bound
@pytest.mark.parametrize("make", [connect, connect_async])
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
@pytest.mark.parametrize(("name", "keywords"), KEYWORDS)
def test_a_number_that_cannot_work_is_named(
    name: str, keywords: dict[str, Any], scheme: str, make: Callable[..., object]
) -> None:
    with pytest.raises(SettingsError, match=f"the connection to Redis, {name}: expected"):
        make(f"{scheme}://127.0.0.1:1", **keywords)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [connect, connect_async])
@pytest.mark.parametrize("query", QUERIES)
def test_an_option_of_the_url_that_cannot_work_is_named(
    query: str, make: Callable[..., object]
) -> None:
    name = query.partition("=")[0]
    with pytest.raises(SettingsError, match=f"the connection to Redis, {name}: expected"):
        make(f"redis://127.0.0.1?{query}")


def test_the_limits_of_a_number_are_written_in_full() -> None:
    """Not as 2.14748e+09."""
    with pytest.raises(SettingsError, match="expected a number from 1 to 2147483648, found 0"):
        connect(NOBODY, max_connections=0)
    with pytest.raises(SettingsError, match=r"expected a number from 0\.001 to 86400, found 0"):
        connect(NOBODY, timeout_s=0)


@pytest.mark.parametrize("make", [connect, connect_async])
def test_port_0_is_not_taken_for_the_default(make: Callable[..., object]) -> None:
    with pytest.raises(SettingsError, match="the connection to Redis, port: expected"):
        make("redis://127.0.0.1:0")


def test_a_connection_that_decodes_is_refused(valkey: str, cluster: str) -> None:
    node = cluster.removeprefix("redis+cluster://").split(",")[0]
    host, _, port = node.rpartition(":")
    sync: list[Any] = [redis.Redis.from_url(valkey, decode_responses=True)]
    sync.append(redis.RedisCluster(host, int(port), decode_responses=True))
    for connection in sync:
        with connection, pytest.raises(SettingsError, match="decode_responses: expected False"):
            OnlineClient(connection)
    waiting: list[Any] = [redis.asyncio.Redis.from_url(valkey, decode_responses=True)]
    waiting.append(AsyncCluster(host=host, port=int(port), decode_responses=True))
    for connection in waiting:
        with pytest.raises(SettingsError, match="decode_responses: expected False"):
            AsyncOnlineClient(connection)


def test_a_connection_of_the_other_client_or_without_turns_is_refused(cluster: str) -> None:
    node = cluster.removeprefix("redis+cluster://").split(",")[0]
    awaited: list[Any] = [connect_async(NOBODY), connect_async(cluster)]
    awaited.append(redis.asyncio.RedisCluster.from_url(f"redis://{node}"))
    for connection in awaited:
        with pytest.raises(SettingsError, match=r"expected redis.client.Redis or .*Mend: make"):
            OnlineClient(connection)
    for connection in (awaited[-1], connect(NOBODY)):
        with pytest.raises(SettingsError, match=r"expected redis.asyncio.client.Redis or .*found"):
            AsyncOnlineClient(connection)


def test_a_cluster_behind_the_url_of_a_server_is_named(
    cluster: str, cluster_store: redis.RedisCluster
) -> None:
    put(cluster_store, {str(n): value(n) for n in range(64)})  # in more slots than one node's
    ids = [str(n) for n in range(64)]
    nodes = cluster.removeprefix("redis+cluster://").split(",")
    refusal = r"expected a single server, found a node of a cluster \(\w+\).*redis\+cluster://"
    for node in nodes:
        with pytest.raises(StoreError, match=refusal):
            OnlineClient.from_url(f"redis://{node}").read("topics", ids)

        async def read(url: str) -> None:
            client = AsyncOnlineClient.from_url(url)
            try:
                await client.read("topics", ids)
            finally:
                await client.aclose()

        with pytest.raises(StoreError, match=refusal):
            asyncio.run(read(f"redis://{node}"))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (None, TypeError, r"found None \(NoneType\). Mend: leave null ids out"),
        (7, TypeError, r"found 7 \(int\). Mend: pass \[str"),
        (b"v", TypeError, r"found b'v' \(bytes\)"),
        (float("nan"), TypeError, r"found nan \(float\)"),
        ("v\udce9", InputError, r"ids, number 1: expected text in UTF-8.*found 'v\\udce9'"),
    ],
)
def test_an_id_that_no_key_can_have_is_named(
    wrong: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as refusal:
        encoded(["vidéo", wrong, "x"])
    str(refusal.value).encode()
    with pytest.raises(error, match="ids"):
        OnlineClient.from_url(NOBODY).recent_clicks(wrong)
