"""How much `vidtopics serve` carries: requests by as many callers as there are connections.

    python -m benchmarks.http_load --home .vidtopics [--workers 1] [--connections 1 4 16 64]

Reads a home that `vidtopics demo` has made, loads its release into a Redis server of its own and
starts `vidtopics serve`. Each connection asks for a recommendation, waits for the answer and asks
again (closed loop); those who get 503 ask again after a tenth of a second, as callers with a retry
do. The callers are one process, which shares the cores with service and Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import redis
import typer

from benchmarks import homes
from benchmarks.http import serving
from vidtopics.contracts import USER_RECENT_CLICKS
from vidtopics.materialization import materialize
from vidtopics.settings import load
from vidtopics.tables import FOREVER, Tables

PAUSE_S, TIMEOUT_S = 0.1, 10.0
USERS = 1_000


@dataclass
class Answers:
    """What one number of connections got: milliseconds of those that were answered, by status."""

    ms: dict[int, list[float]] = field(default_factory=dict)

    def line(self, connections: int, seconds: float) -> str:
        """Throughput of answers with 200, their latencies, and the share of others."""
        answered = self.ms.get(200, [])
        total = sum(map(len, self.ms.values()))
        p50, p99 = np.quantile(answered, (0.5, 0.99)) if answered else (np.nan, np.nan)
        others = {status: len(ms) / total for status, ms in sorted(self.ms.items())}
        others.pop(200, None)
        refused = ", ".join(f"{share:.1%} {status}" for status, share in others.items())
        return (
            f"{connections:4d} connections: {len(answered) / seconds:6.1f} answers/s,"
            f" p50 {p50:6.1f}, p99 {p99:6.1f} ms{f'; {refused}' if refused else ''}"
        )


async def ask(port: int, users: Sequence[str], until: float, answers: Answers) -> None:
    """One caller, on a connection that is kept."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    turn = 0
    while time.perf_counter() < until:
        body = json.dumps({"user_id": users[turn % len(users)], "limit": 10}).encode()
        head = (
            "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        turn, began = turn + 1, time.perf_counter()
        writer.write(head.encode() + body)
        status = await asyncio.wait_for(_answer(reader), TIMEOUT_S)
        answers.ms.setdefault(status, []).append(1e3 * (time.perf_counter() - began))
        if status == 503:
            await asyncio.sleep(PAUSE_S)
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Its status; the body is read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = head.partition("content-length:")[2].partition("\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split(maxsplit=2)[1])


async def measure(port: int, users: Sequence[str], connections: int, seconds: float) -> Answers:
    """All callers at the same time."""
    answers, until = Answers(), time.perf_counter() + seconds
    rng = np.random.default_rng(7)
    callers = (
        ask(port, rng.permutation(users).tolist(), until, answers) for _ in range(connections)
    )
    await asyncio.gather(*callers)
    return answers


def main() -> None:
    """Print a line for each number of connections, and one for the whole round again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128])
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--config", type=Path, help="settings of the service")
    options = parser.parse_args()
    tables, settings = Tables(options.home), load(options.home / "settings.yaml")
    users = tables.as_of(USER_RECENT_CLICKS, FOREVER)["user_id"].to_pylist()[:USERS]
    with homes.redis_server() as url:
        with redis.Redis.from_url(url) as connection:
            materialize(tables, connection, settings.online)
        more = ["--workers", str(options.workers)]
        more += ["--config", str(options.config)] if options.config else []
        with serving(options.home, url, more) as (caller, _):
            asyncio.run(measure(caller.port, users, 4, 2))  # warms up
            typer.echo(f"{options.workers} workers, {os.cpu_count()} cores")
            for connections in options.connections:
                answers = asyncio.run(measure(caller.port, users, connections, options.seconds))
                typer.echo(answers.line(connections, options.seconds))


if __name__ == "__main__":
    main()
