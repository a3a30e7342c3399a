from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import parity_home
import pytest
import redis
from parity_home import ParityHome

from vidtopics.online import serving_log


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[ParityHome]:
    monkeypatch.setattr(serving_log, "INTERVAL_S", 0.01)
    monkeypatch.setattr(parity_home, "START_US", time.time_ns() // 1000)
    found = ParityHome(tmp_path, store)
    yield found
    found.log.close()
