"""Random kills while executors compute jobs: `python -m benchmarks.cluster_kills HOME [--kills N]`.

Each job of a copy of the home runs undisturbed once, which gives its rows and skip key. Then it
runs again and again, from before its first run, and at a random moment of it something happens: an
executor, a worker or the driver is killed, an executor stands still, the disk of a worker's work
folder is full. The result has to be the same, or an error with nothing visible of the run; then the
next run, undisturbed, gives the same. HOME is one that `vidtopics demo` or `run` made.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from benchmarks.cluster_homes import JOBS, DriverDiedError, Site, site
from benchmarks.homes import folder
from vidtopics.contracts import TABLES

Kind = Literal[
    "executor killed", "worker killed", "driver killed", "executor stands still", "disk full"
]
WEIGHTS: dict[Kind, int] = {
    "executor killed": 12,
    "worker killed": 2,
    "driver killed": 3,
    "executor stands still": 2,
    "disk full": 1,
}
STILL_S = 5.0
DISK_BYTES = 256 * 2**20
Rows = tuple[list[dict[str, object]], list[str]]
"""A table's rows in order, and the skip keys of its commits."""


@dataclass
class Tally:
    """What became of the runs in which one kind of thing happened."""

    times: int = 0
    same: int = 0
    clean_errors: int = 0
    wrong: list[str] = field(default_factory=list)


def rows_of(at: Site, job: str) -> Rows:
    """What a reader sees of a job's table now."""
    tables, table = at.tables, TABLES[job]
    if not tables.exists(table):
        return [], []
    rows = tables.read(table)
    order = [(name, "ascending") for name in (*table.key, "event_timestamp")]
    keys = [commit.skip_key for commit in tables.commits(table)]
    return rows.sort_by(order).to_pylist(), keys


def disturb(at: Site, kind: Kind, rng: random.Random) -> Callable[[], None]:
    """Let a thing happen; what to call once the run has ended."""
    name = rng.choice(sorted(at.cluster.workers))
    if kind == "driver killed":
        at.driver.kill()
        return at.driver.start
    if kind == "worker killed":
        at.cluster.workers[name].kill()
        at.cluster.workers[name].wait()
        return lambda: at.cluster.add(name)
    if kind == "disk full":
        return _fill(at.cluster.disk(name) / "fill")
    executors = at.cluster.executors()
    chosen = rng.choice(executors) if executors else None
    with suppress(psutil.NoSuchProcess):
        if chosen is not None and kind == "executor killed":
            chosen.kill()
        elif chosen is not None:
            _stand_still([chosen, *chosen.children(recursive=True)])
    return lambda: None


def _stand_still(processes: Sequence[psutil.Process]) -> None:
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        time.sleep(STILL_S if number == signal.SIGSTOP else 0)


def _fill(path: Path) -> Callable[[], None]:
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**20))
    return path.unlink


def one(at: Site, job: str, kind: Kind, expected: Rows, rng: random.Random, tally: Tally) -> None:
    """One run in which something happens, and the next one."""
    at.forget(job)
    began = time.monotonic()
    at.driver.ask(at.request(job))
    time.sleep(rng.uniform(0, at.seconds[job]))
    mend = disturb(at, kind, rng)
    try:
        error = at.driver.answer().get("error")
    except DriverDiedError:
        error = "the driver died"
    took = time.monotonic() - began
    mend()
    tally.times += 1
    rows = rows_of(at, job)
    if error is None and rows == expected:
        tally.same += 1
        at.seconds[job] = min(at.seconds[job], took)  # the first run of all was the slowest
    elif error is not None and rows in (expected, ([], [])):
        tally.clean_errors += 1
        at.driver.ask(at.request(job))
        error = at.driver.answer().get("error")
        if error is not None or rows_of(at, job) != expected:
            tally.wrong.append(f"{job}, the next run: {error}")
    else:
        tally.wrong.append(f"{job}: {error or 'other rows'}")
    _print(f"  {job}, {kind}, {took:.1f} s: {tally.wrong[-1:] or 'well'}", sys.stderr)


def main() -> None:
    """Print the table; status 1 where a result was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="an empty folder, kept with its logs")
    options = parser.parse_args()
    with nullcontext(options.scratch) if options.scratch else folder() as scratch:
        jobs = options.jobs.split(",")
        tallies = kill(options.home, scratch, options.kills, jobs, options.seed)
    _print(f"{'what happened':<24}{'times':>8}{'same result':>14}{'clean error':>14}{'wrong':>8}")
    for kind, tally in sorted(tallies.items()):
        line = f"{tally.times:>8}{tally.same:>14}{tally.clean_errors:>14}{len(tally.wrong):>8}"
        _print(f"{kind:<24}{line}")
    if any(tally.wrong for tally in tallies.values()):
        raise SystemExit(1)


def kill(
    home: Path,
    scratch: Path,
    times: int,
    jobs: Sequence[str],
    seed: int,
    as_of_us: int | None = None,
) -> dict[Kind, Tally]:
    """Let `times` things happen; what became of the runs, by kind."""
    rng = random.Random(seed)  # noqa: S311  no secret
    kinds = rng.choices([*WEIGHTS], [*WEIGHTS.values()], k=times)
    tallies = {kind: Tally() for kind in Counter(kinds)}
    with site(home, scratch, disk_bytes=DISK_BYTES, as_of_us=as_of_us) as at:
        expected = {}
        for job in jobs:
            at.forget(job)
            answer = at.run(job)
            if "error" in answer:
                raise RuntimeError(f"{job}: {answer['error']}")
            expected[job] = rows_of(at, job)
            _print(f"  {job}: {answer['rows']} rows, {at.seconds[job]:.1f} s", sys.stderr)
        for number, kind in enumerate(kinds):
            job = jobs[number % len(jobs)]
            one(at, job, kind, expected[job], rng, tallies[kind])
    return tallies


def _print(line: str, file: object = None) -> None:
    print(line, file=file, flush=True)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
