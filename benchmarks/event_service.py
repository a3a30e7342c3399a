"""Redis, `vidtopics events apply` and `vidtopics serve` as processes over a copy of a home."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.homes import folder
from benchmarks.http import serving
from benchmarks.redis_nodes import Node, free_ports, node, valkey_server
from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.events.generations import Generation, keys_of, lags, opened
from vidtopics.layout.live import LiveKeys
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.online.connections import Connection, connect
from vidtopics.online.events import EventClient
from vidtopics.settings import Settings, load
from vidtopics.tables import FOREVER, Tables

WAIT_S = 300.0
PARTS = ("tables", "models", "settings.yaml")
"""Of a home, that the service needs."""
Mapped = dict[str, Any]


class EventService:
    """A release in a server of its own, and the two services over it.

    Args:
        path: of an empty folder.
        home: that is copied, so that what lands changes nothing there.
        server: Redis.
    """

    def __init__(self, path: Path, home: Path, server: Node) -> None:
        self.home, self.server = path / "home", server
        for name in PARTS:
            copy = shutil.copytree if (home / name).is_dir() else shutil.copy
            self.home.mkdir(exist_ok=True)
            cast("Any", copy)(home / name, self.home / name)
        self.tables = Tables(self.home)
        self.settings: Settings = load(self.home / "settings.yaml")
        self.connection: Connection = connect(server.url, timeout_s=60)
        self.events = EventClient(self.connection, prefix=self.settings.online.prefix)
        self.reader = OnlineClient(self.connection, prefix=self.settings.online.prefix)
        table = self.tables.as_of(VIDEO_STATISTICS, FOREVER)
        self.videos: list[str] = table["video_id"].to_pylist()[:1_000]
        self.sent = 0
        self.load()

    def load(self) -> None:
        """Bring the release into the server, which is emptied."""
        self.connection.flushall()
        materialize(self.tables, self.connection, self.settings.online)

    @property
    def keys(self) -> LiveKeys:
        """Of events and live state."""
        return keys_of(self.connection, self.settings.online.prefix)

    @property
    def generation(self) -> Generation:
        """The newest that is open."""
        known = opened(self.connection, self.settings.online.prefix)
        return known[max(known)]

    def impressions(self, count: int, *, user: str = "", video: str = "") -> list[Mapped]:
        """Impressions of now, of one user or many, of one video or many."""
        rng, first = np.random.default_rng(self.sent), self.sent
        self.sent += count
        users, videos = rng.integers(0, 5_000, count), rng.integers(0, len(self.videos), count)
        return [
            {
                "kind": "impression",
                "event_id": f"day-{first + i}",
                "user_id": user or f"u{users[i]:07d}",
                "video_id": video or self.videos[videos[i]],
                "event_timestamp": time.time(),
            }
            for i in range(count)
        ]

    def exposures(self) -> int:
        """Impressions of all videos since the release, as readers see them."""
        return int(self.reader.live_statistics(self.videos).live_exposures.sum())

    def visible_ms(self, probes: int) -> list[float]:
        """From the acknowledgement of an event to the first read that has it."""
        waits, video = [], self.videos[-1]
        for _ in range(probes):
            before = self.reader.live_statistics([video]).live_exposures[0]
            self.events.send(self.impressions(1, user="prober", video=video))
            acknowledged = time.perf_counter()
            while self.reader.live_statistics([video]).live_exposures[0] == before:
                time.sleep(0.001)
            waits.append((time.perf_counter() - acknowledged) * 1e3)
        return waits

    def drained(self) -> None:
        """Wait until all that was sent is applied."""
        release = self.generation.release
        wait(
            lambda: (
                not any(
                    max(buckets) for buckets in lags(self.connection, self.keys, release).values()
                )
            ),
            "drained streams",
        )

    @contextmanager
    def consumer(self, *options: str) -> Iterator[int]:
        """`vidtopics events apply` within the block, from the first `/ready` on; its port."""
        [port] = free_ports(1)
        words = ["events", "apply", "--metrics-port", str(port), "--home", str(self.home), *options]
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "vidtopics", *words],
            stderr=subprocess.DEVNULL,
            env=os.environ | {"REDIS_URL": self.server.url},
        )
        try:
            wait(lambda: ask(port, "/live")[0] == 200, "a consumer")
            yield port
        finally:
            process.terminate()
            process.wait()

    @contextmanager
    def http(self) -> Iterator[int]:
        """`vidtopics serve` within the block; its port."""
        with serving(self.home, self.server.url) as (caller, _):
            yield caller.port


@contextmanager
def event_service(home: Path) -> Iterator[EventService]:
    """A service over a copy of a home, in a temporary folder."""
    with ExitStack() as stack:
        path = stack.enter_context(folder())
        server = stack.enter_context(
            node(
                path / "redis",
                binary=valkey_server(),
                appendonly="yes",
                maxmemory_policy="noeviction",
            )
        )
        yield EventService(path, home, server)


def ask(port: int, page: str, body: object = None) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and body of an answer; status 0: nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        head = {"Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", page, text, head)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode().strip()
    except OSError:
        return 0, {}, ""
    finally:
        connection.close()


def metrics(port: int, *names: str) -> list[str]:
    """The samples of some metrics that aren't 0, as `/metrics` has them."""
    families = text_string_to_metric_families(ask(port, "/metrics")[2])
    lines = []
    for family in families:
        for sample in family.samples:
            if sample.value and sample.name in names:
                labels = ",".join(f'{k}="{v}"' for k, v in sample.labels.items())
                lines.append(f"{sample.name}{f'{{{labels}}}' if labels else ''} {sample.value:g}")
    return lines


def wait(done: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    until = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"no sign of {what} after {WAIT_S:.0f} s")
        time.sleep(0.05)
