"""Both clients behind one face, so that every test of a read runs with each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from vidtopics.online import AsyncOnlineClient, Features, OnlineClient


class Reader(Protocol):
    """What the sync and the async client have in common."""

    def read(self, view: str, ids: Any, names: list[str] | None = None) -> Features: ...
    def read_views(self, views: list[str], ids: Any) -> dict[str, Features]: ...


class Waiting:
    """An async client, each of whose reads is waited for."""

    def __init__(self, client: AsyncOnlineClient, loop: asyncio.AbstractEventLoop) -> None:
        self.client, self.loop = client, loop

    def read(self, *arguments: Any, **named: Any) -> Features:
        return self.loop.run_until_complete(self.client.read(*arguments, **named))

    def read_views(self, *arguments: Any) -> dict[str, Features]:
        return self.loop.run_until_complete(self.client.read_views(*arguments))


@pytest.fixture(params=["sync", "async"])
def reader(request: pytest.FixtureRequest, valkey: str) -> Iterator[Callable[..., Reader]]:
    """`reader(prefix="vt")`: a client of the test's store."""
    if request.param == "sync":
        yield lambda prefix="vt": OnlineClient.from_url(valkey, prefix=prefix)
        return
    loop, made = asyncio.new_event_loop(), []

    def make(prefix: str = "vt") -> Waiting:
        made.append(AsyncOnlineClient.from_url(valkey, prefix=prefix))
        return Waiting(made[-1], loop)

    yield make
    for client in made:
        loop.run_until_complete(client.aclose())
    loop.close()
