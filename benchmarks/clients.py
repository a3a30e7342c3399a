"""The client on one server and a cluster, sync and async, with metrics, beside a plain read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from time import perf_counter

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks import homes
from benchmarks.data import video_ids
from benchmarks.figures import Figure, Scale, check, figure
from benchmarks.redis_nodes import cluster_of, node, valkey_server
from benchmarks.serving import CANDIDATES, NAMES, VIEW, latencies
from vidtopics.materialization import materialize
from vidtopics.online import AsyncOnlineClient, Features, OnlineClient, connect
from vidtopics.online.metrics import OnlineMetrics
from vidtopics.settings import OnlineSettings

PLAIN = "one server, sync"
SIZES: dict[Scale, tuple[int, int, int]] = {"full": (20_000, 5, 500), "smoke": (1_000, 1, 5)}
Reads = Callable[[Sequence[list[str]], int], list[float]]


def run(scale: Scale) -> list[Figure]:
    """p50 of each round, the ways in turns."""
    videos, rounds, reads = SIZES[scale]
    rng = np.random.default_rng(7)
    requests = [
        video_ids(rng.choice(videos, CANDIDATES, replace=False)).to_pylist() for _ in range(50)
    ]
    with homes.folder() as home, ExitStack() as stack:
        server = stack.enter_context(node(home / "server", binary=valkey_server())).url
        nodes = stack.enter_context(cluster_of(home / "cluster", binary=valkey_server()))
        cluster = nodes[0].url.replace("redis://", "redis+cluster://")
        tables = homes.fill(home, (VIEW,), videos)
        for url in (server, cluster):
            with connect(url, timeout_s=30) as connection:
                materialize(tables, connection, OnlineSettings())
        ways = {
            PLAIN: _sync(server),
            "one server, sync, with metrics": _sync(server, OnlineMetrics(CollectorRegistry())),
            "three-node cluster, sync": _sync(cluster),
            "one server, async": _async(server),
            "three-node cluster, async": _async(cluster),
        }
        for way in ways.values():
            way(requests, 3)
        p50 = [
            {name: float(np.median(way(requests, reads))) for name, way in ways.items()}
            for _ in range(rounds)
        ]
    return [
        figure(
            "clients",
            f"600 videos, {name}, p50",
            "ms",
            [r[name] for r in p50],
            [r[PLAIN] for r in p50],
            PLAIN,
            compare="share",
            note=f"{rounds} rounds of {reads:,} reads",
        )
        for name in ways
        if name != PLAIN
    ]


def _sync(url: str, metrics: OnlineMetrics | None = None) -> Reads:
    def read(requests: Sequence[list[str]], count: int) -> list[float]:
        client = OnlineClient.from_url(url, timeout_s=30, metrics=metrics)
        _check(client.read(VIEW, requests[0], NAMES))
        times: list[float] = latencies(
            lambda ids: client.read(VIEW, ids, NAMES), requests, count
        ).tolist()
        client.close()
        return times

    return read


def _async(url: str) -> Reads:
    async def reading(requests: Sequence[list[str]], count: int) -> list[float]:
        client = AsyncOnlineClient.from_url(url, timeout_s=30)
        _check(await client.read(VIEW, requests[0], NAMES))
        times = [
            await _timed(client.read(VIEW, requests[i % len(requests)], NAMES))
            for i in range(count)
        ]
        await client.aclose()
        return times

    return lambda requests, count: asyncio.run(reading(requests, count))


async def _timed(read: Awaitable[Features]) -> float:
    began = perf_counter()
    await read
    return (perf_counter() - began) * 1e3


def _check(features: Features) -> None:
    check("clients: every video is there", int(features.present.sum()), CANDIDATES)
