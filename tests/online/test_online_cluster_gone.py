"""A cluster of which no node answers: a RedisError, and reads again once it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from small_store import put, value

from benchmarks.redis_nodes import Node, cluster_of, settled, valkey_server, wait
from vidtopics.online import AsyncOnlineClient, OnlineClient, connect

Read = Callable[[], list[int]]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A cluster of one, whose data outlive a kill."""
    with cluster_of(
        tmp_path, binary=valkey_server(), count=1, appendonly="yes", appendfsync="always"
    ) as (only,):
        with connect(f"redis+cluster://127.0.0.1:{only.port}", timeout_s=20) as connection:
            put(connection, {"a": value(7)})
        yield only


@pytest.fixture(params=["sync", "async"])
def read(request: pytest.FixtureRequest, node: Node) -> Iterator[Read]:
    url = f"redis+cluster://127.0.0.1:{node.port}"
    if request.param == "sync":
        client = OnlineClient.from_url(url, timeout_s=5)
        yield lambda: list(client.read("topics", ["a"])["topic_count"])
        client.close()
        return
    loop, waiting = asyncio.new_event_loop(), AsyncOnlineClient.from_url(url, timeout_s=5)
    yield lambda: list(loop.run_until_complete(waiting.read("topics", ["a"]))["topic_count"])
    loop.run_until_complete(waiting.aclose())
    loop.close()


def test_reads_fail_with_errors_of_redis_until_it_is_back(node: Node, read: Read) -> None:
    assert read() == [7]
    node.kill()
    for _ in range(3):
        with pytest.raises(redis.RedisError):
            read()
    node.start()
    with redis.Redis.from_url(node.url) as connection:
        wait(lambda: settled(connection, 1), "a cluster that is back")
    assert read() == [7]


def test_the_first_question_fails_so_too() -> None:
    nobody = "redis+cluster://127.0.0.1:1"
    with pytest.raises(redis.ConnectionError, match="cannot be connected"):
        connect(nobody)
    with pytest.raises(redis.ConnectionError, match="cannot be connected"):
        asyncio.run(AsyncOnlineClient.from_url(nobody).read("topics", ["a"]))
