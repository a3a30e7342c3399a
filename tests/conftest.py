"""Fixtures, Hypothesis profile and order of all tests."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from benchmarks.redis_nodes import cluster_of, valkey_server
from vidtopics import server
from vidtopics.online.connections import connect

JOBS = "tests/jobs/"

# The same examples in every run, and no verdict by the clock: a slow or busy machine changes
# neither what is tested nor whether it passes.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


class Together(LoadScopeScheduling):
    """A file's tests run in one process, as do those of tests/jobs: making their home takes two minutes."""

    def _split_scope(self, nodeid: str) -> str:
        return JOBS if nodeid.startswith(JOBS) else nodeid.partition("::")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-order", type=int, metavar="SEED", help="shuffle files and tests")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Together:
    """Of `make test`, which runs on two cores."""
    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no core is without work at the end; the home is made within the first test's time."""
    items.sort(key=lambda item: not item.nodeid.startswith(JOBS))
    if (seed := config.getoption("--random-order")) is not None:
        shuffle(items, seed)
    for item in items:
        if item.nodeid.startswith(JOBS) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def shuffle(items: list[pytest.Item], seed: int) -> None:
    """Put files in random order, and the tests within each file; the same order on each worker."""
    order = random.Random(seed)
    files = sorted({item.path for item in items})
    order.shuffle(files)
    items.sort(key=lambda item: item.nodeid)
    order.shuffle(items)
    items.sort(key=lambda item: files.index(item.path))


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
