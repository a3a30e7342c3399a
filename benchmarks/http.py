"""`vidtopics serve` beside the same call in process, in turns, over the same release.

    python -m benchmarks.http --home .vidtopics [--users 200] [--json FILE]

Reads a home that `vidtopics demo` has made, loads its release into a Redis server of its own,
starts `vidtopics serve` as a process of one worker, and takes turns, user by user, on one
connection: a recommendation over HTTP and in process, features of 600 videos and their user as
Arrow IPC and read in process. The caller's own time (a request's JSON, the answer's head) is
in the figures; service, Redis and caller share the cores. CPU is of the process that answers, the
service's or this one's, over requests of one kind in a row: it hardly depends on what else runs.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import redis
from numpy.typing import NDArray

from benchmarks import homes
from benchmarks.figures import Figure, Target, quantile_figure
from benchmarks.home_report import report_home, verdict_line
from consumers.ranking.serve import Ranker
from consumers.recommendation import VIEWS, recommend
from consumers.retrieval import Recall
from vidtopics.contracts import USER_RECENT_CLICKS
from vidtopics.materialization import materialize
from vidtopics.online import OnlineClient
from vidtopics.settings import Settings, load
from vidtopics.tables import FOREVER, Tables

ROUNDS = 3
"""The first warms up and isn't counted."""
TOP = 10
HTTP = {"/recommend": "recommend in process", "/features": "read in process"}
"""Routes and their peers."""
TARGETS = {
    ("/recommend", 0.5): 12.0,
    ("/recommend", 0.99): 25.0,
    ("/features", 0.5): 3.0,
    ("/features", 0.99): 6.0,
}
"""Milliseconds at most."""
Times = dict[str, NDArray[np.float64]]


def measure(home: Path, users: int) -> dict[str, Any]:
    """Milliseconds of each route and its peer, and the targets."""
    tables, settings = Tables(home), load(home / "settings.yaml")
    ids = tables.as_of(USER_RECENT_CLICKS, FOREVER)["user_id"].to_pylist()
    chosen = np.random.default_rng(7).choice(ids, min(users, len(ids)), replace=False).tolist()
    with homes.redis_server() as url:
        with redis.Redis.from_url(url) as connection:
            materialize(tables, connection, settings.online)
        with serving(home, url) as (caller, service):
            steps = _steps(home, settings, url, caller)
            times = _turns(steps, chosen)
            cpu = _cpu_ms(steps, chosen, service)
    return {
        "users": len(chosen),
        "load": os.getloadavg()[0],
        "routes": {
            name: {f"p{100 * q:g}_ms": float(np.quantile(row, q)) for q in (0.5, 0.99)}
            | {"cpu_ms": cpu[name]}
            for name, row in times.items()
        },
        "targets": [
            {"name": row.name, "ms": row.ours, "ratio": row.ratio, "met": row.met}
            | {"target": row.target}
            for row in figures(times)
        ],
    }


@contextmanager
def serving(
    home: Path, url: str, more: Sequence[str] = ()
) -> Iterator[tuple[http.client.HTTPConnection, psutil.Process]]:
    """A connection to the service of a home, once a worker is ready, and its process.

    `more`: options of `vidtopics serve`.
    """
    command = [sys.executable, "-m", "vidtopics", "serve", "--home", str(home), "--port", "0"]
    command += more
    environment = os.environ | {"REDIS_URL": url}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stderr
    try:
        port = json.loads(process.stderr.readline())["port"]
        caller = http.client.HTTPConnection("127.0.0.1", port)
        while "switched" not in process.stderr.readline():
            time.sleep(0.01)
        with _drained(process):
            yield caller, psutil.Process(process.pid)
    finally:
        process.terminate()  # its workers end with it
        process.wait()


@contextmanager
def _drained(process: subprocess.Popen[str]) -> Iterator[None]:
    """Read the log away, so that the service never waits for its reader."""
    with subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL) as sink:  # noqa: S607
        try:
            yield
        finally:
            sink.kill()


def _steps(
    home: Path, settings: Settings, url: str, caller: http.client.HTTPConnection
) -> Callable[[str], dict[str, Callable[[], object]]]:
    """The four calls for a user."""
    client = OnlineClient.from_url(url)
    recall, ranker = Recall(client, settings.recall), Ranker.load(home / "models" / "ranking")
    videos = recall.recall("", seed=7).video_ids
    views = [view for view in VIEWS if view in client.directory().views]
    arrow = {"Accept": "application/vnd.apache.arrow.stream"}

    def post(path: str, body: object, headers: dict[str, str]) -> bytes:
        typed = headers | {"Content-Type": "application/json"}
        caller.request("POST", path, json.dumps(body), typed)
        answer = caller.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return data

    def of(user: str) -> dict[str, Callable[[], object]]:
        ids = {"video": videos, "user": [user]}
        calls: list[Callable[[], object]] = [
            lambda: post("/recommend", {"user_id": user, "limit": TOP}, {}),
            lambda: recommend(recall, ranker, user, top=TOP),
            lambda: post("/features", {"views": views, "ids": ids}, arrow),
            lambda: client.read_entities(views, ids),
        ]
        names = [name for pair in HTTP.items() for name in pair]
        return dict(zip(names, calls, strict=True))

    return of


def _turns(steps: Callable[[str], dict[str, Callable[[], object]]], users: list[str]) -> Times:
    """Milliseconds of each step for each user, one after the other."""
    rows: dict[str, list[float]] = {}
    for turn in range(ROUNDS):
        for user in users:
            for name, step in steps(user).items():
                began = perf_counter()
                step()
                if turn:
                    rows.setdefault(name, []).append(1e3 * (perf_counter() - began))
    return {name: np.array(row) for name, row in rows.items()}


def _cpu_ms(
    steps: Callable[[str], dict[str, Callable[[], object]]],
    users: list[str],
    service: psutil.Process,
) -> dict[str, float]:
    """Milliseconds of CPU a call, of the service for what goes over HTTP, else of this process."""
    milliseconds = {}
    for name in sorted(steps(users[0]), key=lambda name: name not in HTTP):
        process = service if name in HTTP else psutil.Process()
        before = sum(process.cpu_times()[:2])
        for user in users:
            steps(user)[name]()
        spent = sum(process.cpu_times()[:2]) - before
        milliseconds[name] = 1e3 * spent / len(users)
    return milliseconds


def figures(times: Times) -> list[Figure]:
    """The figures that must reach something, beside the same quantile in process."""
    return [
        quantile_figure(
            "http",
            f"{route}, p{100 * quantile:g}",
            quantile,
            [times[route]],
            [times[HTTP[route]]],
            HTTP[route],
            [Target("most", bound)],
        )
        for (route, quantile), bound in TARGETS.items()
    ]


def show(report: dict[str, Any]) -> list[str]:
    """The report in lines."""
    lines = [f"{report['users']} users, load {report['load']:.1f}"]
    lines += [
        f"  {name:22s} p50 {row['p50_ms']:6.2f} ms, p99 {row['p99_ms']:6.2f} ms,"
        f" CPU {row['cpu_ms']:5.2f} ms"
        for name, row in report["routes"].items()
    ]
    return lines + [
        f"{verdict_line(row)}; {1 / row['ratio']:.2f} of the call in process"
        for row in report["targets"]
    ]


def main() -> None:
    """Print the figures; with `--json` write them too."""
    report_home(__doc__, measure, show, users=200)


if __name__ == "__main__":
    main()
