"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from benchmarks.redis_nodes import cluster_of, valkey_server
from vidtopics import server
from vidtopics.online.connections import connect


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an embedded server that lives as long as the test run."""
    home = tmp_path_factory.mktemp("valkey")
    yield server.start(home)
    server.stop(home)


@pytest.fixture
def store(valkey: str) -> Iterator[redis.Redis]:
    """A connection to that server, emptied."""
    with redis.Redis.from_url(valkey) as connection:
        connection.flushall()
        yield connection


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of three servers that lives as long as the test run."""
    with cluster_of(tmp_path_factory.mktemp("cluster"), binary=valkey_server()) as nodes:
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{n.port}" for n in nodes)


@pytest.fixture
def cluster_store(cluster: str) -> Iterator[redis.RedisCluster]:
    """A connection to that cluster, emptied."""
    with connect(cluster, timeout_s=20) as connection:
        connection.flushall()
        yield connection
