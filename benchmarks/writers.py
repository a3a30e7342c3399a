"""Runs that go on beside readers, in a process of their own.

`python -m benchmarks.writers KIND HOME URL` prints `ready`, then the seconds of each run that
ended, and ends with the run in which its input is closed.
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from benchmarks.children import ROOT
from benchmarks.figures import timed
from vidtopics.errors import MachineError, explain
from vidtopics.materialization import materialize
from vidtopics.materialization.rollback import switch_back
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables

FULL, ROLLBACK = "--full", "rollback"
SETTINGS = OnlineSettings()
OLD, NEW = 1, 2
"""Releases of the home between which a rollback goes."""


@contextmanager
def beside(kind: str, home: Path, url: str) -> Iterator[list[float]]:
    """Runs of a kind, one after the other, while the block goes on; afterwards their seconds.

    Raises:
        MachineError: a run failed.
    """
    process = subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", "benchmarks.writers", kind, str(home), url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    seconds: list[float] = []
    try:
        assert process.stdout
        process.stdout.readline()
        yield seconds
    finally:
        lines, errors = process.communicate()
    if process.returncode:
        raise MachineError(
            explain(
                f"benchmark writer, {kind}",
                expected="status 0",
                found=f"status {process.returncode}: {errors[-2_000:]}",
                mend="see above",
            )
        )
    seconds += map(float, lines.split())


def run_once(kind: str, tables: Tables, connection: redis.Redis) -> float:
    """Seconds of one run; after a rollback the new release is brought again, which isn't timed."""
    if kind == FULL:
        return timed(lambda: materialize(tables, connection, SETTINGS, full=True))[0]
    seconds = switch_back(connection, SETTINGS, OLD).seconds
    materialize(tables, connection, SETTINGS, release=NEW)
    return seconds


def main(kind: str, home: str, url: str) -> None:
    """Run until the input is closed, once at least."""
    tables = Tables(home)
    with redis.Redis.from_url(url) as connection:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            sys.stdout.write(f"{run_once(kind, tables, connection)}\n")
            sys.stdout.flush()
            if select.select([sys.stdin], [], [], 0)[0]:
                return


if __name__ == "__main__":
    main(*sys.argv[1:4])
