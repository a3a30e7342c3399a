"""What a job is: the table that it fills, what it reads, and how it is run, skipped and published.

A job file names its table and inputs and has one `compute`; everything else is here, so that a job
is one screen. Whether a job is up to date is decided from the tables' logs alone: no Spark, no
torch is loaded for a job that is skipped.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from vidtopics import contracts
from vidtopics.contracts import EVENT_TIME, Table
from vidtopics.errors import BusyError, TableError, VidtopicsError, explain
from vidtopics.jobs import checks
from vidtopics.jobs.as_of import parse_past_time
from vidtopics.jobs.place import home_folder
from vidtopics.releases.lock import RunLock, hold
from vidtopics.settings import ContentSettings, Settings, digest, load
from vidtopics.source import source_hash
from vidtopics.tables import FOREVER, Commit, Publication, Tables
from vidtopics.tables.commits import last_run, latest_commit
from vidtopics.tables.latest_rows import LatestRows
from vidtopics.tables.releases import TOPIC_MODEL, read_log
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import TIMESTAMP
from vidtopics.times import micros, moment
from vidtopics.topic_models import TopicModel, Version
from vidtopics.topic_models import in_force as model_in_force
from vidtopics.topic_models import load as load_model

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Runs repeated at one as-of time are known microseconds after each other; a reader of the same run
# sees them all.
REPEATS_US = 1_000_000


@dataclass(frozen=True)
class Parts:
    """Rows of a log in parts, each published in a commit of its own as soon as it is computed.

    A run that dies keeps the parts that it published: its next one leaves their keys out and, as
    only the last part's commit has the run's skip key, is not taken for up to date.

    * `count`: how many tables `tables` yields, 1 at least.
    """

    count: int
    tables: Iterator[pa.Table]


@dataclass(frozen=True)
class Computed:
    """What `compute` gives: rows in the contract's columns, and what publishing has to know.

    `widths` resolves the contract's named vector widths, `facts` go with the commit, `left_out`
    says what the rows lack and why (of :class:`Parts` it is read after the last), `close` is called
    once all is written. `reused` names rows of the last result that hold as they are
    (:class:`vidtopics.jobs.reuse.LastResult`); `rows` are the others.
    """

    rows: pa.Table | ds.Dataset | DataFrame | Parts
    widths: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    left_out: Iterable[str] = ()
    close: Callable[[], object] = lambda: None
    reused: pa.Table | None = None


@dataclass(frozen=True)
class Run:
    """One run of jobs as of a time, over the tables of one home.

    A live run is as of now, and its rows are known when they are published. A backfill is as of a
    time in the past, and its rows count as known `settings.schedule.delay` later. `lock`: the
    home's, which a run that publishes holds. `trains`: it makes a topic model version rather than
    infer with one. `on_spark`: jobs that can run on executors do; without, no session is started.
    `content`: how to encode, where it isn't as the topic model version says. `keeps_encoders`: the
    process goes on to other runs, with the encoders that it has.
    """

    tables: Tables
    settings: Settings
    as_of_us: int
    live: bool = False
    progress: Callable[[str], None] = lambda text: None
    lock: RunLock | None = None
    trains: bool = False
    on_spark: bool = False
    content: ContentSettings | None = None
    keeps_encoders: bool = False

    @classmethod
    def backfill(cls, tables: Tables, settings: Settings, as_of_us: int) -> Run:
        """A run as of a time in the past."""
        return cls(tables, settings, as_of_us)

    @classmethod
    def now(cls, tables: Tables, settings: Settings) -> Run:
        """A live run."""
        return cls(tables, settings, micros(datetime.now(UTC)), live=True)

    @classmethod
    def of_option(cls, tables: Tables, settings: Settings, as_of: str | None) -> Run:
        """The run that `--as-of` asks for: a backfill, or a live run without the option.

        Raises:
            SettingsError: it is no time, or one whose rows would be known only in the future.
        """
        if as_of is None:
            return cls.now(tables, settings)
        return cls.backfill(tables, settings, parse_past_time(as_of, settings.schedule.delay))

    @cached_property
    def live_video_ids(self) -> pa.ChunkedArray:
        """IDs of the videos that are not taken down as of this run, ascending; read once."""
        from vidtopics.jobs.inputs import live_videos

        return live_videos(self)["video_id"]

    def has_events(self, log: Table) -> bool:
        """Whether the log has an event before this run's time that the run may know."""
        if not self.tables.exists(log):
            return False
        created = pa.scalar(self.known_by(log), pa.int64()).cast(TIMESTAMP)
        at = pa.scalar(self.as_of_us, pa.int64()).cast(TIMESTAMP)
        visible = (ds.field(EVENT_TIME) < at) & (ds.field(contracts.CREATED_TIME) <= created)
        rows = scan(self.tables.snapshot(log))
        return bool(len(rows.head(1, columns=[EVENT_TIME], filter=visible)))

    @property
    def created_us(self) -> int:
        """When this run's rows become known."""
        if self.live:
            return micros(datetime.now(UTC))
        return self.as_of_us + self.settings.schedule.delay // timedelta(microseconds=1)

    def known_by(self, table: Table) -> int:
        """What the run may know: inputs as of its time, earlier jobs of it as they publish."""
        if self.live:
            return FOREVER
        return self.as_of_us if table in contracts.INPUTS else self.created_us + REPEATS_US

    def read(self, table: Table, *columns: str, where: ds.Expression | None = None) -> pa.Table:
        """The rows of `table` that hold as of this run (all columns by default)."""
        return self.tables.as_of(
            table, self.as_of_us, self.known_by(table), columns=columns or None, where=where
        )

    def latest_rows(self, table: Table, where: ds.Expression | None = None) -> LatestRows:
        """Which rows :meth:`read` gives, to be read some after the other; a history that exists."""
        return self.tables.latest_rows(table, self.as_of_us, self.known_by(table), where=where)

    def frame(self, table: Table, *columns: str) -> DataFrame:
        """The same as a Spark DataFrame; executors read the columns that are named, or all."""
        self.spark  # noqa: B018  starts the session
        known_by = self.known_by(table)
        return self.tables.spark_as_of(table, self.as_of_us, known_by, columns=columns or None)

    @property
    def spark(self) -> SparkSession:
        """The session, started on first use."""
        from vidtopics.jobs.session import session

        return session("vidtopics", log=self.tables.home / "logs" / "spark.log")

    def before(self, table: Table) -> Commit | None:
        """The table's last commit of an earlier as-of time: what a warm start starts from."""
        return latest_commit(self.tables.commits(table), self.as_of_us - 1)

    def read_before(self, table: Table, *columns: str) -> pa.Table:
        """The rows of `table` that held just before this run."""
        return self.tables.as_of(
            table, self.as_of_us - 1, self.known_by(table), columns=columns or None
        )

    @cached_property
    def model_version(self) -> Version | None:
        """The topic model version that this run infers with; None: there is none, or it trains."""
        return None if self.trains else self.model_version_at(self.as_of_us)

    def model_version_at(self, as_of_us: int) -> Version | None:
        """The topic model version in force at a time, as this run may know it."""
        return model_in_force(
            self.tables.home,
            as_of_us=as_of_us,
            known_by_us=self.known_by(contracts.TOPICS),
            releases=read_log(self.tables),
        )

    @cached_property
    def model(self) -> TopicModel:
        """The same with its contents, read once; TableError where there is none."""
        if self.model_version is None:
            raise TableError(
                explain(
                    f"topic models as of {moment(self.as_of_us)}",
                    expected="a version to infer with",
                    found="none",
                    mend="vidtopics train topics",
                )
            )
        return load_model(self.tables.home, self.model_version.number)


@dataclass(frozen=True)
class Job:
    """A table, what it is computed from, and how.

    `compute` works in this process; `distribute`, where there is one, on Spark's executors, with
    the same rows (`tests/jobs/test_job_submit.py`).
    `settings` picks the sections that the result depends on; `code` names the modules and packages
    whose source does. `weights` gives the hash of files that it loads. `infers`: with the run's
    topic model version. `warm`: the job starts from its own last result. `check` raises where the
    run's inputs or settings can't give a result that makes sense. `empty` says why a result may
    have no rows.
    """

    table: Table
    inputs: tuple[Table, ...]
    compute: Callable[[Run], Computed]
    settings: Callable[[Settings], object]
    code: tuple[str, ...]
    weights: Callable[[Run], str] = lambda run: ""
    distribute: Callable[[Run], Computed] | None = None
    infers: bool = False
    warm: bool = False
    check: Callable[[Run], None] = lambda run: None
    empty: str = "nothing to work on"

    @property
    def name(self) -> str:
        """A job is called as its table."""
        return self.table.name

    def commit(self, run: Run) -> Commit:
        """How this run of the job will be recorded; its skip key decides if it is up to date."""
        versions: dict[str, int] = {}
        for table in self.inputs:
            versions |= run.tables.input_versions(
                [table], as_of_us=run.as_of_us, known_by_us=run.known_by(table)
            )
        if run.live and contracts.VIDEO_CATALOG in self.inputs:
            versions["removals due"] = removals_due(run)  # time alone changes what is live
        if run.live:
            versions |= events_ahead(run, self.inputs)  # and what was before it
        if self.infers:
            versions[TOPIC_MODEL] = run.model_version.number if run.model_version else 0
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
            self.weights(run),
            versions,
        )

    def run(self, run: Run) -> Publication:
        """Compute and publish, or skip where nothing that the result depends on has changed."""
        commit = self.commit(run)
        if run.tables.is_done(self.table, commit):
            return Publication(self.name, self.last(run).version, 0, skipped=True)
        self.check_inputs(run)
        if self.infers:
            run.model  # noqa: B018  TableError where there is none
        if not (run.on_spark and self.distribute):
            return self._computed(run, commit, self.compute)
        from vidtopics.jobs.executor_tasks import explained

        mend = "run again: nothing was published; the executors' logs say more"
        with explained(self.name, mend):
            return self._computed(run, commit, self.distribute)

    def _computed(
        self, run: Run, commit: Commit, compute: Callable[[Run], Computed]
    ) -> Publication:
        """Compute and publish."""
        computed = compute(run)
        try:
            rows, earlier_rows = computed.rows, 0
            if isinstance(rows, Parts):
                earlier_rows = self._publish_but_last(run, rows, commit, computed.widths)
                rows = next(rows.tables)
            facts = dict(computed.facts)
            if self.infers:
                facts[TOPIC_MODEL] = commit.inputs[TOPIC_MODEL]
            is_empty = not computed.reused and self._is_empty(rows)
            empty = self._reason_if_empty(run) if is_empty else []
            if left_out := [*computed.left_out, *empty]:
                facts["left_out"] = "; ".join(left_out)
                run.progress(f"{self.name}: {facts['left_out']}")
            commit = replace(commit, facts=facts)
            done = self._publish(run, rows, commit, computed.widths, computed.reused)
            return replace(done, rows=earlier_rows + done.rows)
        finally:
            computed.close()

    def _publish(
        self,
        run: Run,
        rows: pa.Table | ds.Dataset | DataFrame,
        commit: Commit,
        widths: Mapping[str, int],
        reused: pa.Table | None = None,
    ) -> Publication:
        if run.lock:
            run.lock.check()
        commit = replace(commit, created_us=run.created_us)
        # Rows that this process computed are published by it, whichever engine owns the table.
        here = isinstance(rows, pa.Table | ds.Dataset)
        table = replace(self.table, engine="deltalake") if here else self.table
        return run.tables.publish(table, rows, commit, widths=widths, reused=reused)

    def _publish_but_last(
        self, run: Run, parts: Parts, commit: Commit, widths: Mapping[str, int]
    ) -> int:
        """Publish all parts but the last, under skip keys of their own; returns their rows."""
        rows = 0
        for part in range(1, parts.count):
            own = replace(commit, inputs={**commit.inputs, "part": part})
            rows += self._publish(run, next(parts.tables), own, widths).rows
        return rows

    def check_inputs(self, run: Run) -> None:
        """TableError or SettingsError if the run has no live videos or fails the job's `check`."""
        if contracts.VIDEO_CATALOG in self.inputs:
            checks.require_live_videos(run)
        self.check(run)

    def _reason_if_empty(self, run: Run) -> list[str]:
        """Why a result has no rows; TableError where publishing it would end every value."""
        row_count = self._live_rows(run)
        if row_count:
            raise TableError(
                explain(
                    f"{self.name} as of {moment(run.as_of_us)}",
                    expected=f"rows, as {row_count} hold that an empty result would end",
                    found=f"none: {self.empty}",
                    mend="see that the last ingest and the settings are right; nothing was written",
                )
            )
        return [self.empty]

    def _is_empty(self, rows: pa.Table | ds.Dataset | DataFrame) -> bool:
        if self.table.kind == "log":
            return False  # nothing new is what most runs of a log bring
        if isinstance(rows, pa.Table | ds.Dataset):
            return not (len(rows) if isinstance(rows, pa.Table) else rows.count_rows())
        # A history that Spark computes has a row for every video, of which there is one at least.
        return self.table.kind == "snapshot" and rows.isEmpty()

    def _live_rows(self, run: Run) -> int:
        """Rows of the table that hold as of the run."""
        if run.tables.commits(self.table).latest_as_of(run.as_of_us) is None:
            return 0
        return len(run.read(self.table, *self.table.key))

    def last(self, run: Run) -> Commit:
        """The job's last commit for the run's as-of time, which it has just published or found."""
        log = run.tables.commits(self.table)
        commit = last_run(log, self.name, None if run.live else run.as_of_us)
        assert commit is not None
        return commit


def removals_due(run: Run) -> int:
    """Videos that are taken down by the run's time, which a later live run finds more of."""
    removed = run.tables.read(contracts.VIDEO_CATALOG, columns=["removed_at"])["removed_at"].cast(
        pa.int64()
    )
    return int(pc.sum(pc.less_equal(removed, run.as_of_us)).as_py() or 0)


def events_ahead(run: Run, tables: Iterable[Table]) -> dict[str, int]:
    """Events of logs that aren't before the run's time, as those that land once it is fixed.

    A later live run finds fewer of the same version. Logs without any are left out.
    """
    not_before = ds.field(EVENT_TIME) >= pa.scalar(run.as_of_us, pa.int64()).cast(TIMESTAMP)
    logs = [table for table in tables if table.kind == "log" and run.tables.exists(table)]
    counts = {t.name: scan(run.tables.snapshot(t)).count_rows(filter=not_before) for t in logs}
    return {f"{name} ahead": count for name, count in counts.items() if count}


def main(job: Job) -> None:
    """The command line of a job: `spark-submit X.py --home H [--config F] [--as-of T]`."""
    parser = argparse.ArgumentParser(description=job.table.doc)
    parser.add_argument("--home", default=".vidtopics")
    parser.add_argument("--config", default="conf/demo.yaml")
    parser.add_argument("--as-of", help="ISO 8601; now if it is left out")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        tables = Tables(home_folder(options.home, is_written=True))
        run = Run.of_option(tables, load(options.config), options.as_of)
        with hold(run.tables.home, f"spark_jobs/{job.name}.py") as lock:
            done = job.run(replace(run, lock=lock, on_spark=True))
        left_out = job.last(run).facts.get("left_out", "")
    except VidtopicsError as error:
        print(f"Error {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(3 if isinstance(error, BusyError) else 2) from None
    state = "up to date" if done.skipped else f"{done.rows} rows"
    seconds = time.monotonic() - started
    print(f"{job.name}: {state}, version {done.version}, {seconds:.1f} s")  # noqa: T201
    if left_out:
        print(f"{job.name}: {left_out}")  # noqa: T201
