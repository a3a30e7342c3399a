"""One Redis server that holds the same videos twice.

As `vidtopics materialize` writes them, and as Feast's Redis store does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice
from time import perf_counter
from typing import Any

import numpy as np
import redis
from feast import FeatureStore
from numpy.typing import NDArray

from benchmarks import homes
from benchmarks.data import video_ids
from benchmarks.figures import Milliseconds
from benchmarks.projects import project
from benchmarks.quiet import quietly
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables

CANDIDATES = 600
VIEW = "video_topics"
NAMES = ("topic_ids", "topic_weights")
REFS = [f"{VIEW}:{name}" for name in NAMES]
EPOCH, TODAY = datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sizes:
    """`videos` in the store; rounds, and reads of each side in a round."""

    videos: int
    rounds: int
    ours: int
    feast: int


@dataclass(frozen=True)
class Serving:
    """The readers, and requests of 600 videos each; `tables` and `url` of the server."""

    tables: Tables
    url: str
    client: OnlineClient
    packed: FeatureStore
    feast: FeatureStore
    requests: list[list[str]]


@contextmanager
def serving(sizes: Sizes) -> Iterator[Serving]:
    """A server, filled and warm."""
    with homes.folder() as home, homes.redis_server() as url:
        tables = homes.fill(home, (VIEW,), sizes.videos)
        connection = redis.Redis.from_url(url)
        materialize(tables, connection, OnlineSettings())
        feast = project(home, (VIEW,), online="feast", url=url)
        quietly(lambda: feast.materialize(EPOCH, TODAY))
        packed = project(home, (VIEW,), online="packed", url=url)
        rng = np.random.default_rng(7)
        numbers = [rng.choice(sizes.videos, CANDIDATES, replace=False) for _ in range(200)]
        requests = [video_ids(n).to_pylist() for n in numbers]
        with OnlineClient.from_url(url).connection as connection:
            yield Serving(tables, url, OnlineClient(connection), packed, feast, requests)
        connection.close()


def read_feast(store: FeatureStore, ids: Sequence[str]) -> Any:
    """A request as Feast's users make it."""
    return store.get_online_features(REFS, [{"video_id": i} for i in ids])


def as_lists(response: Any) -> list[list[Any]]:
    """Its topic ids and weights."""
    columns = response.to_dict()
    return [columns[name] for name in NAMES]


def latencies(
    read: Callable[[list[str]], object], requests: Sequence[list[str]], count: int
) -> NDArray[np.float64]:
    """Milliseconds of `count` reads, each of the next request."""
    times = np.empty(count)
    for i in range(count):
        ids = requests[i % len(requests)]
        began = perf_counter()
        read(ids)
        times[i] = perf_counter() - began
    return times * 1e3


def latencies_for(
    read: Callable[[list[str]], object],
    requests: Sequence[list[str]],
    seconds: float,
    threads: int = 1,
) -> Milliseconds:
    """Milliseconds of the reads that `threads` threads make one after the other in `seconds`."""

    def reads(first: int) -> list[float]:
        times, ends = [], perf_counter() + seconds
        for ids in islice(cycle(requests), first * len(requests) // threads, None):
            began = perf_counter()
            read(ids)
            times.append((ended := perf_counter()) - began)
            if ended > ends:
                break
        return times

    with ThreadPoolExecutor(threads) as pool:
        return np.array([t for times in pool.map(reads, range(threads)) for t in times]) * 1e3
