"""A snapshot's reads are of one release, also where another goes live between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
from small_store import go_live, put, put_queues, value

from vidtopics.errors import StoreError
from vidtopics.online import AsyncOnlineClient, Catalogue, OnlineClient
from vidtopics.online.connections import Connection

IDS = ["a", "b", "c"]


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest, store: redis.Redis) -> Connection:
    return store if request.param == "server" else request.getfixturevalue("cluster_store")


def release(store: Connection, load: int, retained: list[int]) -> None:
    """A release whose every value, queue and topic says its load, made live."""
    put(
        store,
        {i: value(load) for i in IDS},
        event_us=load,
        load=load,
        retained=[n for n in retained if n < load],
    )
    put_queues(store, {load: [f"v{load}"]}, epoch=load, load=load)
    go_live(store, load, retained=retained)


def counts(client: Any) -> list[int]:
    return client.read("topics", IDS)["topic_count"].tolist()  # type: ignore[no-any-return]


def test_what_goes_live_between_two_reads_is_not_seen(store: Connection) -> None:
    release(store, 1, [1])
    client = OnlineClient(store)
    snapshot = client.snapshot()
    assert counts(snapshot) == [1, 1, 1]
    release(store, 2, [1, 2])
    assert counts(snapshot) == [1, 1, 1]
    assert snapshot.catalogue() == Catalogue(1, (1,), popular_clicks=(3.5, 1.0))
    assert snapshot.queues([1], epoch=1, limit=9) == [["v1"]]
    assert snapshot.queues([2], epoch=2, limit=9) == [[]]
    assert (counts(client), client.catalogue()) == (
        [2, 2, 2],
        Catalogue(2, (2,), popular_clicks=(3.5, 1.0)),
    )
    assert client.queues([2], epoch=2, limit=9) == [["v2"]]


def test_a_snapshot_is_of_the_release_that_is_live_at_its_first_read(store: Connection) -> None:
    release(store, 1, [1])
    client = OnlineClient(store)
    assert counts(client) == [1, 1, 1]
    snapshot = client.snapshot()
    release(store, 2, [1, 2])
    assert (snapshot.catalogue().epoch, counts(snapshot)) == (2, [2, 2, 2])


def test_a_rollback_between_two_reads_is_not_seen_while_the_release_is_retained(
    store: Connection,
) -> None:
    release(store, 1, [1])
    release(store, 2, [1, 2])
    snapshot = OnlineClient(store).snapshot()
    assert counts(snapshot) == [2, 2, 2]
    go_live(store, 1, retained=[1, 2])
    assert (counts(snapshot), counts(OnlineClient(store))) == ([2, 2, 2], [1, 1, 1])


@pytest.mark.parametrize(
    "read",
    [counts, lambda snapshot: snapshot.queues([1], epoch=1, limit=9)],
    ids=["values", "queues"],
)
def test_a_snapshot_whose_release_is_gone_says_so(
    store: Connection, read: Callable[[OnlineClient], object]
) -> None:
    release(store, 1, [1])
    snapshot = OnlineClient(store).snapshot()
    counts(snapshot)
    release(store, 2, [2])  # load 1 is dropped
    with pytest.raises(
        StoreError,
        match=r"prefix 'vt', a snapshot at load 1: expected its release to be retained, found that "
        r"others took its place\. Mend: take a new snapshot",
    ):
        read(snapshot)


def test_without_loads_a_rebuild_ends_a_snapshot_and_another_view_does_not(
    store: Connection,
) -> None:
    """What Feast alone writes has no loads."""
    put(store, {i: value(1) for i in IDS})
    snapshot = OnlineClient(store).snapshot()
    assert counts(snapshot) == [1, 1, 1]
    put(store, {"a": value(1)}, view="other")
    assert counts(snapshot) == [1, 1, 1]
    store.hset(
        "vt:{directory}:views",
        "topics",
        store.hget("vt:{directory}:views", "topics").replace(b'"generation":1', b'"generation":2'),
    )
    store.incr("vt:{directory}:directory")
    with pytest.raises(StoreError, match="a snapshot at load 0"):
        counts(snapshot)


def test_a_snapshots_new_directory_is_the_clients_too(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a client that makes snapshots alone would look for it again with each."""
    from vidtopics.online import reads

    release(store, 1, [1])
    client, asked = OnlineClient(store), []
    counts(client.snapshot())
    release(store, 2, [1, 2])
    real = reads.directory_commands
    monkeypatch.setattr(
        reads, "directory_commands", lambda prefix: (asked.append(prefix), real(prefix))[1]
    )
    for _ in range(3):
        assert counts(client.snapshot()) == [2, 2, 2]
    assert asked == ["vt"]


def test_the_async_snapshot_is_the_same(request: pytest.FixtureRequest, store: Connection) -> None:
    url = request.getfixturevalue("cluster" if isinstance(store, redis.RedisCluster) else "valkey")
    release(store, 1, [1])

    async def read() -> tuple[object, ...]:
        client = AsyncOnlineClient.from_url(url, timeout_s=20)
        try:
            snapshot = client.snapshot()
            before = (await snapshot.read("topics", IDS))["topic_count"].tolist()
            release(store, 2, [1, 2])
            after = (await snapshot.read("topics", IDS))["topic_count"].tolist()
            return before, after, await snapshot.queues([1], epoch=1, limit=9)
        finally:
            await client.aclose()

    assert asyncio.run(read()) == ([1, 1, 1], [1, 1, 1], [["v1"]])
