"""What each job costs on a cluster: `python -m benchmarks.cluster_scaling HOME [--times 8]`.

Every job runs on executors over a copy of the home in a bucket on loopback, and over one with its
videos, users and events several times over, with 1 and with 2 workers of one core. Printed: seconds
of the clock and of the executors' CPU (JVM and Python), bytes that executors shuffled, the greatest
resident memory of an executor, and bytes that passed between the cluster and the bucket. The slope
between both sizes, in CPU seconds for each million rows, is what more rows cost. HOME is one that
`vidtopics demo` or `run` made.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks.cluster_homes import JOBS, Site, site
from benchmarks.homes import folder
from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    USER_TOPIC_COUNTS,
    VIDEO_CATALOG,
    VIDEO_COUNTS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_STATISTICS,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TAGS,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.tables import Tables, deltalake_engine
from vidtopics.tables.commits import Commit

REPEATED = (
    VIDEO_CATALOG,
    VIDEO_TAGS,
    IMPRESSIONS,
    CLICKS,
    VIDEO_TAG_EMBEDDING,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TOPICS,
    VIDEO_COUNTS,
    VIDEO_STATISTICS,
    USER_TOPIC_COUNTS,
)
"""What jobs read, row by row."""
IDS = ("video_id", "user_id", "event_id")
SAMPLE_S = 0.05


@dataclass(frozen=True)
class Cost:
    """What a job cost."""

    rows: int
    seconds: float
    cpu_s: float
    shuffled: int
    peak: int
    received: int
    sent: int


class Meter:
    """CPU seconds and greatest resident memory of the executors, each with what it started."""

    def __init__(self, at: Site) -> None:
        self._at = at
        self._ended = Event()
        self._thread = Thread(target=self._sample, daemon=True)
        self._cpu: dict[int, float] = {}
        self.peak = 0

    def __enter__(self) -> Meter:
        self._look()
        self._before = dict(self._cpu)
        self.peak = 0
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    @property
    def cpu_s(self) -> float:
        """CPU seconds since the meter began, of processes that have ended too."""
        return sum(used - self._before.get(pid, 0.0) for pid, used in self._cpu.items())

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self._look()

    def _look(self) -> None:
        for executor in self._at.cluster.executors():
            size = 0
            for process in (executor, *executor.children(recursive=True)):
                try:
                    used = process.cpu_times()
                    size += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
                self._cpu[process.pid] = used.user + used.system
            self.peak = max(self.peak, size)


def repeat(home: Path, target: Path, times: int) -> None:
    """Copy a home with all videos, users and events of it several times, under ids of their own."""
    copy_home(Address.parse(home), Address.parse(target))
    tables = Tables(target)
    for table in REPEATED:
        rows = tables.read(table)
        for number in range(1, times):
            delta = tables.delta(table)
            batches = iter(_renamed(table, rows, number).to_batches())
            last = tables.commits(table).last()
            as_of_us = last.as_of_us if last else 0
            commit = Commit("benchmark", as_of_us, as_of_us, ordinal=number)
            deltalake_engine.append(table, delta, batches, commit)


def _renamed(table: Table, rows: pa.Table, number: int) -> pa.Table:
    for name in IDS:
        if name in rows.column_names:
            place = rows.schema.get_field_index(name)
            ids = pc.binary_join_element_wise(rows[name], f"x{number}", "")
            rows = rows.set_column(place, rows.schema.field(name), ids)
    return rows


def measure(at: Site, job: str) -> Cost:
    """Run a job from the start."""
    at.forget(job)
    passed = len(at.proxy.requests())
    started = time.monotonic()
    with Meter(at) as meter:
        answer = at.run(job)
    seconds = time.monotonic() - started
    if "error" in answer:
        raise RuntimeError(f"{job}: {answer['error']}")
    requests: list[dict[str, Any]] = at.proxy.requests()[passed:]
    received, sent = (sum(r[name] for r in requests) for name in ("received", "sent"))
    rows, shuffled = answer["rows"], answer["shuffled"]
    return Cost(rows, seconds, meter.cpu_s, shuffled, meter.peak, received, sent)


def rows_read(home: Path, job: str) -> int:
    """Rows of what a job reads, as its contract names it."""
    import importlib

    inputs = importlib.import_module(f"spark_jobs.{job}").JOB.inputs
    return sum(ds.Dataset.count_rows(Tables(home)._dataset(t, None)) for t in inputs)


def main() -> None:
    """Print the table, and each job's slope."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--jobs", default=",".join(JOBS))
    options = parser.parse_args()
    jobs = options.jobs.split(",")
    _print(
        f"{'job':<22}{'rows':>9}{'workers':>9}{'s':>8}{'CPU s':>8}{'shuffled':>11}{'peak':>9}"
        f"{'read':>10}{'written':>10}"
    )
    slopes: dict[str, list[tuple[int, Cost]]] = {job: [] for job in jobs}
    with folder() as scratch:
        for times in (1, options.times):
            home = scratch / f"home{times}"
            repeat(options.home, home, times)
            for workers in (1, 2):
                _measure_all(home, scratch / f"site{times}-{workers}", workers, jobs, slopes)
    _print(f"\n{'job':<22}{'CPU s for each million rows read':>34}")
    for job, costs in slopes.items():
        (few, less), (many, more) = costs
        _print(f"{job:<22}{(more.cpu_s - less.cpu_s) / (many - few) * 1e6:>34.1f}")


def _measure_all(
    home: Path,
    scratch: Path,
    workers: int,
    jobs: Sequence[str],
    slopes: dict[str, list[tuple[int, Cost]]],
) -> None:
    scratch.mkdir()
    with site(home, scratch, workers=workers, is_counted=True) as at:
        measure(at, jobs[0])  # what starts with an application is in no job's cost
        for job in jobs:
            cost, rows = measure(at, job), rows_read(home, job)
            if workers == 2:
                slopes[job].append((rows, cost))
            widths = (11, 9, 10, 10)
            sizes = (cost.shuffled, cost.peak, cost.received, cost.sent)
            parts = [f"{n / 1e6:>{w}.1f}" for n, w in zip(sizes, widths, strict=True)]
            times = f"{cost.seconds:>8.1f}{cost.cpu_s:>8.1f}"
            _print(f"{job:<22}{rows:>9,}{workers:>9}{times}{''.join(parts)}")


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201  its output


if __name__ == "__main__":
    main()
