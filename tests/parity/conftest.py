from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import parity_home
import pytest
import redis
from parity_home import ParityHome

from vidtopics.online import serving_log
from vidtopics.online.connections import Connection


@pytest.fixture
def home(
    tmp_path: Path, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ParityHome]:
    with _home(tmp_path, store, monkeypatch) as new_home:
        yield new_home


@pytest.fixture
def cluster_home(
    tmp_path: Path, cluster_store: redis.RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ParityHome]:
    with _home(tmp_path, cluster_store, monkeypatch) as new_home:
        yield new_home


@contextmanager
def _home(root: Path, store: Connection, monkeypatch: pytest.MonkeyPatch) -> Iterator[ParityHome]:
    monkeypatch.setattr(serving_log, "INTERVAL_S", 0.01)
    monkeypatch.setattr(parity_home, "START_US", time.time_ns() // 1000)
    new_home = ParityHome(root, store)
    yield new_home
    new_home.log.close()
