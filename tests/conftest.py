"""Fixtures, Hypothesis profile and order of all tests."""

from __future__ import annotations

import json
import logging
import os
import random
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prometheus_client  # noqa: F401  before Feast, which turns on values that all registries share
import pytest
import redis
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from benchmarks.redis_nodes import cluster_of, valkey_server
from benchmarks.s3_server import environment, s3_server
from vidtopics import server
from vidtopics.online.connections import connect
from vidtopics.server import REMEMBERED

# Their tests share one JVM and, those of tests/jobs, a home that takes two minutes to make.
SPARK = (
    "tests/jobs/",
    "tests/tables/test_engines.py",
    "tests/tags/test_graph_engine.py",
    "tests/events/test_event_sources.py",
)
JOBS = SPARK[0]
# These compile the same kernels of policies, which takes a minute: twice where two processes begin.
POLICIES = ("tests/policies/", "tests/experiments/test_off_policy.py")
# What takes longest begins first, so that no core is without work at the end.
LONG = (
    *SPARK,
    *POLICIES,
    "tests/spark/",
    "tests/benchmarks/",
    "tests/feast/",
    "tests/materialization/",
    "tests/parity/",
)

# What a user's shell may say of servers and terminals is none of the tests' business.
for name in ("REDIS_URL", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR"):
    os.environ.pop(name, None)

# JVMs of tests live for minutes on small data: one thread, no second compiler, and the settings of
# tests/spark/conf take a third of the CPU time of Spark's defaults away.
SPARK_CONF = Path(__file__).parent / "spark" / "conf"
os.environ["SPARK_CONF_DIR"] = str(SPARK_CONF)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(SPARK_CONF), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ.setdefault("SPARK_MASTER", "local[1]")
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples in every run, and no verdict by the clock: a slow or busy machine changes
# neither what is tested nor whether it passes.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command that a test runs makes the log its own, for lines of that test alone."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    root.handlers = before


@pytest.fixture(scope="session", autouse=True)
def _demo_home_is_left_alone() -> Iterator[None]:
    """Tests and demo share a folder: after the tests the demo's home knows its own server still."""
    file = Path(__file__).parents[1] / ".vidtopics" / REMEMBERED
    before = file.read_bytes() if file.exists() else None
    yield
    assert (file.read_bytes() if file.exists() else None) == before, file


@pytest.fixture(scope="session")
def restore_layout1() -> Callable[[Any], None]:
    """Fills an empty store, server or cluster, with what commit ada0568 wrote: layout 1."""
    sample = json.loads((Path(__file__).parent / "layout" / "layout1_store.json").read_text())

    def restore(store: Any) -> None:
        for key, stored in sample.items():
            if isinstance(stored, str):
                store.set(key, b64decode(stored))
            elif isinstance(stored, list):
                store.rpush(key, *map(b64decode, stored))
            else:
                store.hset(key, mapping={n: b64decode(text) for n, text in stored.items()})

    return restore


class Together(LoadScopeScheduling):
    """A file's tests run in one process, as do all that share a session or kernels in it."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(SPARK):
            return "spark"
        return "policies" if nodeid.startswith(POLICIES) else nodeid.partition("::")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--random-order", type=int, metavar="SEED", help="shuffle files and tests")


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Together:
    """Of `make test`, which runs on two cores."""
    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests; those of tests/jobs make their home within the time of the first of them."""
    items.sort(key=lambda item: rank(item.nodeid))
    if (seed := config.getoption("--random-order")) is not None:
        shuffle(items, seed)
    for item in items:
        if item.nodeid.startswith(JOBS) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def rank(nodeid: str) -> int:
    """The place of a test's file in :data:`LONG`; the last one where it isn't there."""
    return next((i for i, start in enumerate(LONG) if nodeid.startswith(start)), len(LONG))


def shuffle(items: list[pytest.Item], seed: int) -> None:
    """Put files in random order, and the tests within each file; the same order on each worker."""
    order = random.Random(seed)
    files = sorted({item.path for item in items})
    order.shuffle(files)
    items.sort(key=lambda item: item.nodeid)
    order.shuffle(items)
    items.sort(key=lambda item: files.index(item.path))


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of an S3 server on loopback that lives as long as the test run."""
    with s3_server() as port:
        yield port


@pytest.fixture
def s3_environment(s3_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """What reaches that server, and nothing else of AWS that is set where the tests run."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(s3_port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


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
