"""What every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from vidtopics import server


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
