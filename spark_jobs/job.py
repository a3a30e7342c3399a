"""What a job is: the table that it fills, what it reads, and how it is run, skipped and published.

A job file names its table and inputs and has one `compute`; everything else is here, so that a job
is one screen. Whether a job is up to date is decided from the tables' logs alone: no Spark, no
torch is loaded for a job that is skipped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from vidtopics import contracts
from vidtopics.contracts import Table
from vidtopics.errors import SettingsError, TableError, explain
from vidtopics.settings import Settings, digest, load
from vidtopics.source import source_hash
from vidtopics.tables import FOREVER, Commit, Publication, Tables
from vidtopics.times import micros

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Runs repeated at one as-of time are known microseconds after each other; a reader of the same run
# sees them all.
REPEATS_US = 1_000_000


@dataclass(frozen=True)
class Computed:
    """What `compute` gives: rows in the contract's columns, and what publishing has to know of them.

    `widths` resolves the contract's named vector widths, `facts` go with the commit, `close` is
    called once all is written.
    """

    rows: pa.Table | ds.Dataset | DataFrame
    widths: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    close: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Run:
    """One run of jobs as of a time, over the tables of one home.

    A live run is as of now, and its rows are known when they are published. A backfill is as of a
    time in the past, and its rows count as known `settings.schedule.delay` later.
    """

    tables: Tables
    settings: Settings
    as_of_us: int
    live: bool = False
    progress: Callable[[str], None] = lambda text: None

    @classmethod
    def backfill(cls, tables: Tables, settings: Settings, as_of_us: int) -> Run:
        """A run as of a time in the past."""
        return cls(tables, settings, as_of_us)

    @classmethod
    def now(cls, tables: Tables, settings: Settings) -> Run:
        """A live run."""
        return cls(tables, settings, micros(datetime.now(UTC)), live=True)

    @property
    def created_us(self) -> int:
        """When this run's rows become known."""
        if self.live:
            return micros(datetime.now(UTC))
        return self.as_of_us + self.settings.schedule.delay // timedelta(microseconds=1)

    def known_by(self, table: Table) -> int:
        """What the run may know of a table: inputs as of its time, earlier jobs of this run as they publish."""
        if self.live:
            return FOREVER
        return self.as_of_us if table in contracts.INPUTS else self.created_us + REPEATS_US

    def read(self, table: Table, *columns: str) -> pa.Table:
        """The rows of `table` that hold as of this run (all columns by default)."""
        return self.tables.as_of(
            table, self.as_of_us, self.known_by(table), columns=columns or None
        )

    def frame(self, table: Table) -> DataFrame:
        """The same as a Spark DataFrame."""
        self.spark  # noqa: B018  starts the session
        return self.tables.spark_as_of(table, self.as_of_us, self.known_by(table))

    @property
    def spark(self) -> SparkSession:
        """The session, started on first use."""
        from spark_jobs.session import session

        return session("vidtopics", log=self.tables.home / "logs" / "spark.log")

    def before(self, table: Table) -> Commit | None:
        """The table's last commit of an earlier as-of time: what a warm start starts from."""
        earlier = [c for c in self.tables.commits(table) if c.as_of_us < self.as_of_us]
        return max(earlier, key=lambda c: (c.as_of_us, c.version), default=None)

    def commit_of(self, table: Table) -> Commit:
        """The table's commit that this run reads: the last one of the latest as-of time up to the run's."""
        known = [c for c in self.tables.commits(table) if c.as_of_us <= self.as_of_us]
        if not known:
            raise TableError(
                explain(
                    table.name,
                    expected="a run up to this one",
                    found="none",
                    mend=f"vidtopics run {table.name}",
                )
            )
        return max(known, key=lambda c: (c.as_of_us, c.version))

    def read_before(self, table: Table, *columns: str) -> pa.Table:
        """The rows of `table` that held just before this run."""
        return self.tables.as_of(
            table, self.as_of_us - 1, self.known_by(table), columns=columns or None
        )

    @property
    def models(self) -> Path:
        """Where trained models lie."""
        return self.tables.home / "models"


@dataclass(frozen=True)
class Job:
    """A table, what it is computed from, and how.

    `settings` picks the sections that the result depends on; `code` names the modules and packages
    whose source does. `weights` gives the hash of files that it loads. `warm`: the job starts from
    its own last result.
    """

    table: Table
    inputs: tuple[Table, ...]
    compute: Callable[[Run], Computed]
    settings: Callable[[Settings], object]
    code: tuple[str, ...]
    weights: Callable[[Settings], str] = lambda settings: ""
    warm: bool = False

    @property
    def name(self) -> str:
        """A job is called as its table."""
        return self.table.name

    def commit(self, run: Run) -> Commit:
        """How this run of the job will be recorded; its skip key decides whether the job is up to date."""
        versions: dict[str, int] = {}
        for table in self.inputs:
            versions |= run.tables.input_versions(
                [table], as_of_us=run.as_of_us, known_by_us=run.known_by(table)
            )
        if run.live and contracts.VIDEO_CATALOG in self.inputs:
            versions["removals due"] = _removals_due(run)  # time alone changes what is live
        if self.warm and not run.live:
            before = run.before(self.table)
            versions["before"] = before.version if before else 0
        settings = digest(self.settings(run.settings), run.settings.seed)
        code = source_hash(*self.code)
        return Commit(
            self.name,
            run.as_of_us,
            run.created_us,
            run.live,
            code,
            settings,
            self.weights(run.settings),
            versions,
        )

    def run(self, run: Run) -> Publication:
        """Compute and publish, or skip where nothing that the result depends on has changed."""
        commit = self.commit(run)
        if run.tables.is_done(self.table, commit):
            return Publication(self.name, self.last(run).version, 0, skipped=True)
        computed = self.compute(run)
        commit = replace(commit, created_us=run.created_us, facts=computed.facts)
        try:
            return run.tables.publish(self.table, computed.rows, commit, widths=computed.widths)
        finally:
            computed.close()

    def last(self, run: Run) -> Commit:
        """The job's last commit for the run's as-of time."""
        log = run.tables.commits(self.table)
        return [c for c in log if (c.live if run.live else c.as_of_us == run.as_of_us)][-1]


def _removals_due(run: Run) -> int:
    removed = run.tables.read(contracts.VIDEO_CATALOG, columns=["removed_at"])["removed_at"].cast(
        pa.int64()
    )
    return int(pc.sum(pc.less_equal(removed, run.as_of_us)).as_py() or 0)


def main(job: Job) -> None:
    """The command line of one job file: `spark-submit spark_jobs/X.py --home H [--config F] [--as-of T]`."""
    parser = argparse.ArgumentParser(description=job.table.doc)
    parser.add_argument("--home", default=".vidtopics")
    parser.add_argument("--config", default="conf/demo.yaml")
    parser.add_argument("--as-of", help="ISO 8601; now if it is left out")
    options = parser.parse_args()
    settings, tables = load(options.config), Tables(options.home)
    run = (
        Run.backfill(tables, settings, parse_time(options.as_of))
        if options.as_of
        else Run.now(tables, settings)
    )
    started = time.monotonic()
    done = job.run(run)
    state = "up to date" if done.skipped else f"{done.rows} rows"
    print(f"{job.name}: {state}, version {done.version}, {time.monotonic() - started:.1f} s")  # noqa: T201


def parse_time(text: str) -> int:
    """Microseconds of an ISO 8601 time; UTC where it has no offset.

    >>> parse_time("1970-01-01T00:00:01") == parse_time("1970-01-01T01:00:01+01:00") == 1_000_000
    True
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            explain(
                "--as-of", expected="ISO 8601", found=repr(text), mend="write 2026-11-23T16:45:00Z"
            )
        ) from None
    return micros(time if time.tzinfo else time.replace(tzinfo=UTC))
