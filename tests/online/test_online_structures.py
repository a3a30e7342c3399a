"""Topic queues and recent clicks as a reader gets them."""

from __future__ import annotations

import asyncio
import json

import pytest
import redis
from small_store import put, put_clicks, put_queues, value

from vidtopics.errors import StoreError
from vidtopics.layout import place
from vidtopics.online import AsyncOnlineClient, Catalogue, OnlineClient
from vidtopics.online.connections import Connection


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest, store: redis.Redis) -> Connection:
    return store if request.param == "server" else request.getfixturevalue("cluster_store")


@pytest.fixture
def client(store: Connection) -> OnlineClient:
    put(store, {"a": value(1)})
    return OnlineClient(store)


def test_queues_come_in_the_order_of_topics_cut_to_the_limit(
    store: Connection, client: OnlineClient
) -> None:
    put_queues(store, {5: ["of load 6"], 7: ["of load 6"]}, epoch=2, load=6)
    put_queues(store, {7: ["v1", "v2", "ü3"], 5: ["v9"]}, epoch=2, load=7)
    assert client.queues([5, 99, 7, -1, 7], epoch=2, limit=2) == [
        ["v9"],
        [],
        ["v1", "v2"],
        [],
        ["v1", "v2"],
    ]
    assert client.queues([7], epoch=2, limit=3) == [["v1", "v2", "ü3"]]
    assert client.queues([5, 7], epoch=1, limit=9) == [[], []]
    assert client.queues([5, 7], epoch=2, limit=0) == [[], []]
    assert client.queues([], epoch=2, limit=2) == []


@pytest.mark.parametrize("store", ["server"], indirect=True)
def test_queues_are_one_round_trip(
    valkey: str, client: OnlineClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OnlineClient.from_url(valkey, timeout_s=20)
    put_queues(own.connection, {1: ["v"]}, epoch=1)
    own.queues([1], epoch=1, limit=1)
    sent = []
    real = redis.Connection.send_packed_command
    monkeypatch.setattr(
        redis.Connection, "send_packed_command", lambda *a, **k: (sent.append(a), real(*a, **k))[1]
    )
    own.queues([1, 2, 3], epoch=1, limit=1)
    assert len(sent) == 1


def test_clicks_are_newest_first_and_empty_for_a_stranger(
    store: Connection, client: OnlineClient
) -> None:
    assert client.recent_clicks("ü") == []  # no view yet
    put_clicks(store, {"ü": ["new", "old"]})
    assert client.recent_clicks("ü") == ["new", "old"]
    assert client.recent_clicks("u") == []


def test_the_catalogue_names_epoch_and_popular_topics(
    store: Connection, client: OnlineClient
) -> None:
    expected = (
        "Redis, prefix 'vt': expected queues of topics, of their parents and of the catalogue"
    )
    with pytest.raises(StoreError, match=f"{expected}, found none"):
        client.catalogue()
    old = json.dumps({"load": 1, "epoch": 1, "topics": [8]})  # written before parents had queues
    store.hset(place("vt", "structures"), "topic_queues", old)
    store.incr(place("vt", "directory"))
    with pytest.raises(StoreError, match=f"{expected}, found queues of an earlier version"):
        client.catalogue()
    for epoch in (3, 4):
        put_queues(store, {8: ["v"], 2: ["w"]}, epoch=epoch, load=epoch)
        assert client.catalogue() == Catalogue(epoch, (8, 2), popular_clicks=(3.5, 1.0))


def test_another_bucket_count_is_read_from_the_store(store: Connection) -> None:
    put_clicks(store, {"u7": ["v"]}, prefix="p", buckets=3)
    assert OnlineClient(store, prefix="p").recent_clicks("u7") == ["v"]


def test_the_async_client_reads_the_same(
    request: pytest.FixtureRequest, store: Connection, client: OnlineClient
) -> None:
    put_clicks(store, {"ü": ["new", "old"]})
    put_queues(store, {7: ["v1", "v2"]}, epoch=2)
    url = request.getfixturevalue("cluster" if isinstance(store, redis.RedisCluster) else "valkey")

    async def read() -> tuple[object, ...]:
        own = AsyncOnlineClient.from_url(url, timeout_s=20)
        try:
            queues = [await own.queues([7, 8], epoch=2, limit=n) for n in (1, 0)]
            return await own.recent_clicks("ü"), queues, await own.catalogue()
        finally:
            await own.aclose()

    queues = [client.queues([7, 8], epoch=2, limit=n) for n in (1, 0)]
    assert queues == [[["v1"], []], [[], []]]
    assert asyncio.run(read()) == (client.recent_clicks("ü"), queues, client.catalogue())
