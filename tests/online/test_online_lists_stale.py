"""A prefix is emptied and filled with other buckets: older clients read the new lists."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import redis
from small_store import put_clicks, put_queues

from vidtopics.errors import StoreError
from vidtopics.layout import Structures
from vidtopics.online import AsyncOnlineClient, OnlineClient
from vidtopics.online.connections import Connection
from vidtopics.online.lists import ListRequest
from vidtopics.online.round_trip import send

TOPICS = list(range(8))
Read = Callable[[], tuple[list[str], list[list[str]]]]


@pytest.fixture(params=["server", "cluster"])
def store(request: pytest.FixtureRequest, store: redis.Redis) -> Connection:
    return store if request.param == "server" else request.getfixturevalue("cluster_store")


def fill(store: Connection, buckets: int) -> None:
    """The prefix emptied, and one user's and eight topics' lists that say the number of buckets."""
    store.flushall()
    put_clicks(store, {"ü": [f"v{buckets}", "w"]}, buckets=buckets)
    put_queues(store, {t: [f"v{buckets}", "w"] for t in TOPICS}, epoch=1)


def expected(buckets: int) -> tuple[list[str], list[list[str]]]:
    return [f"v{buckets}", "w"], [[f"v{buckets}"]] * len(TOPICS)


@pytest.fixture(params=["sync", "async"])
def read(request: pytest.FixtureRequest, store: Connection, valkey: str) -> Iterator[Read]:
    """Clicks and queues as one client reads them, over and over."""
    url = request.getfixturevalue("cluster") if isinstance(store, redis.RedisCluster) else valkey
    if request.param == "sync":
        client = OnlineClient.from_url(url, timeout_s=20)
        yield lambda: (client.recent_clicks("ü"), client.queues(TOPICS, epoch=1, limit=1))
        client.close()
        return
    loop, waiting = asyncio.new_event_loop(), AsyncOnlineClient.from_url(url, timeout_s=20)

    async def read_both() -> tuple[list[str], list[list[str]]]:
        return await waiting.recent_clicks("ü"), await waiting.queues(TOPICS, epoch=1, limit=1)

    yield lambda: loop.run_until_complete(read_both())
    loop.run_until_complete(waiting.aclose())
    loop.close()


def test_another_number_of_buckets_is_noticed(store: Connection, read: Read) -> None:
    for buckets in (4, 7, 16, 4):
        fill(store, buckets)
        assert read() == expected(buckets)


def test_an_emptied_prefix_is_an_error_as_for_views(store: Connection, read: Read) -> None:
    fill(store, 4)
    assert read() == expected(4)
    store.flushall()
    with pytest.raises(StoreError, match="expected a store, found nothing"):
        read()
    fill(store, 5)
    assert read() == expected(5)


@pytest.mark.parametrize("store", ["server"], indirect=True)
@pytest.mark.parametrize("read", ["sync", "async"], indirect=True)
def test_where_nothing_changed_each_read_is_one_round_trip(
    store: redis.Redis, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 4)
    read()
    sent: list[object] = []
    for kind in (redis.Connection, redis.asyncio.Connection):
        real = cast("Any", kind.send_packed_command)
        monkeypatch.setattr(
            kind,
            "send_packed_command",
            lambda *a, real=real, **k: (sent.append(a), real(*a, **k))[1],
        )
    read()
    assert len(sent) == 2  # the clicks, and all queues


@pytest.mark.parametrize("store", ["server"], indirect=True)
@pytest.mark.parametrize("at", range(len(TOPICS) + 2))
def test_a_change_between_any_two_commands_of_a_request_shows(store: redis.Redis, at: int) -> None:
    """What comes back is as it was before, or it is known to be stale."""
    fill(store, 4)
    request = ListRequest.of(
        OnlineClient(store).directory(),
        lambda of: (Structures(of.prefix, of.layout).queue(1, t) for t in TOPICS),
        [1] * len(TOPICS),
    )
    before = send(store, request.commands[:at]) if at else []
    fill(store, 7)
    answers = [*before, *send(store, request.commands[at:])] if at <= len(TOPICS) else before
    assert request.stale(answers) == (at <= len(TOPICS))
    if at > len(TOPICS):
        assert request.lists(answers) == expected(4)[1]


def test_a_directory_that_changes_at_every_look_is_asked_three_times_at_most(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 4)
    client, asked = OnlineClient(store), [0]

    def always(*_: object) -> bool:
        asked[0] += 1
        return True

    monkeypatch.setattr(ListRequest, "stale", always)
    assert client.queues(TOPICS, epoch=1, limit=1) == expected(4)[1]
    assert asked == [3]
