"""Results of a log from an earlier run's result and the events that came since.

A log is append-only, and each row has its event time, the time from when it was known and the
version that brought it. A run sees the rows before all three of its bounds (:class:`Seen`). An
earlier run with bounds no higher saw a part of them; what came since is the rest: events after its
as-of time, and late rows in partitions of days long past. Where no earlier result can be gone on
from, everything is counted anew, and the commit's facts say why
(`docs/adr/0026-counts-not-rates.md`).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from vidtopics.contracts import COMMIT_VERSION, CREATED_TIME, EVENT_TIME, PARTITION_DATE, Table
from vidtopics.jobs.job import Job, Run
from vidtopics.tables import FOREVER, Commit, Tables
from vidtopics.tables.data_files import missing_files
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import COUNTED_ANEW, TIMESTAMP, arrow_schema
from vidtopics.tables.whole import changed_by
from vidtopics.times import moment

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LOGS, COUNTED = "logs", "counted"
"""Facts of a commit: id and version of each log that it counted; what it counted, and why."""


@dataclass(frozen=True)
class Condition:
    """Which rows of a log: for an engine in SQL, and for Arrow, which spares files by it.

    >>> condition = EVERY_ROW & ~Condition("a > 1", ds.field("a") > 1)
    >>> str(condition), condition.arrow
    ('(TRUE) AND (NOT (a > 1))', <pyarrow.compute.Expression (true and invert((a > 1)))>)
    """

    sql: str
    arrow: ds.Expression

    def __and__(self, other: Condition) -> Condition:
        return Condition(f"({self.sql}) AND ({other.sql})", self.arrow & other.arrow)

    def __or__(self, other: Condition) -> Condition:
        return Condition(f"({self.sql}) OR ({other.sql})", self.arrow | other.arrow)

    def __invert__(self) -> Condition:
        return Condition(f"NOT ({self.sql})", ~self.arrow)

    def __str__(self) -> str:
        return self.sql


EVERY_ROW = Condition("TRUE", ds.scalar(True))
NO_ROW = Condition("FALSE", ds.scalar(False))


@dataclass(frozen=True)
class Seen:
    """Which rows of logs a run sees.

    Attributes:
        at_us: events strictly before this time.
        known_by_us: known by this one.
        logs: by name the table's id and the version; ("", 0) where the log wasn't there.
    """

    at_us: int
    known_by_us: int
    logs: Mapping[str, tuple[str, int]]

    def rows(self, log: Table) -> Condition:
        """The condition, for Spark and DuckDB in UTC.

        >>> from vidtopics.contracts import CLICKS
        >>> str(Seen(0, FOREVER, {"clicks": ("id", 3)}).rows(CLICKS))
        "(event_timestamp < TIMESTAMP '1970-01-01 00:00:00') AND (NOT (commit_version > 3))"
        """
        conditions = Condition(
            f"{EVENT_TIME} < {_time(self.at_us)}", ds.field(EVENT_TIME) < _scalar(self.at_us)
        )
        if self.known_by_us < FOREVER:
            conditions &= ~_known_after(self.known_by_us)
        return conditions & ~self._committed_later(log)

    def later_rows(self, log: Table) -> Condition:
        """That of rows that aren't among these; each part spares files by their statistics."""
        month = moment(self.at_us)[:7]  # a partition is a day, or a whole month
        first_day = pa.scalar(date.fromisoformat(f"{month}-01"), pa.date32())
        condition = Condition(
            f"{PARTITION_DATE} >= DATE '{month}-01' AND {EVENT_TIME} >= {_time(self.at_us)}",
            (ds.field(PARTITION_DATE) >= first_day) & (ds.field(EVENT_TIME) >= _scalar(self.at_us)),
        )
        if self.known_by_us < FOREVER:
            condition |= _known_after(self.known_by_us)
        return condition | self._committed_later(log)

    def _committed_later(self, log: Table) -> Condition:
        version = self.logs[log.name][1]
        return Condition(f"{COMMIT_VERSION} > {version}", ds.field(COMMIT_VERSION) > version)

    def covers(self, other: Seen) -> bool:
        """Whether it sees all that `other` does, of the same logs."""
        return (
            other.at_us <= self.at_us
            and other.known_by_us <= self.known_by_us
            and all(
                version == 0 or (self.logs[name][0] == table_id and version <= self.logs[name][1])
                for name, (table_id, version) in other.logs.items()
            )
        )


@dataclass(frozen=True)
class Plan:
    """What a run counts: what it sees, and the earlier run that it goes on from, if any."""

    seen: Seen
    base: Commit | None
    base_seen: Seen | None
    counted: str

    @property
    def facts(self) -> dict[str, float | str]:
        """For the commit: what a later run needs to go on from this one."""
        return {LOGS: json.dumps(self.seen.logs, sort_keys=True), COUNTED: self.counted}

    def new_rows(self, log: Table) -> Condition:
        """The rows of a log to count: those that the run sees and its base didn't."""
        seen = self.seen.rows(log)
        return seen if self.base_seen is None else seen & self.base_seen.later_rows(log)


def plan(run: Run, job: Job, *logs: Table) -> Plan:
    """Choose the earlier run to go on from; the logs are read at their versions of this moment."""
    known_by = max(run.known_by(log) for log in logs)
    seen = Seen(run.as_of_us, known_by, {log.name: _state(run.tables, log) for log in logs})
    own = job.commit(run)
    commits = run.tables.commits(job.table)
    earlier = [c for c in commits if c.job == job.name and c.as_of_us <= run.as_of_us]
    reason = ""
    for base in sorted(earlier, key=lambda c: (c.as_of_us, c.version), reverse=True):
        base_seen = _seen_by(base)
        obstacles = _obstacles(run.tables, job.table, logs, (own, seen), (base, base_seen))
        obstacle = next(obstacles, "")
        if not obstacle:
            return Plan(
                seen, base, base_seen, f"what came since the run as of {moment(base.as_of_us)}"
            )
        reason = reason or obstacle
    return Plan(seen, None, None, f"everything: {reason or 'no earlier run'}")


def _obstacles(
    tables: Tables,
    table: Table,
    logs: Sequence[Table],
    own: tuple[Commit, Seen],
    base: tuple[Commit, Seen | None],
) -> Iterator[str]:
    """Why a run can't go on from an earlier one; nothing where it can."""
    (commit, seen), (before, before_seen) = own, base
    if before_seen is None:
        yield "the earlier run doesn't say what it counted"
        return
    if (before.code, before.settings) != (commit.code, commit.settings):
        yield "code or settings changed"
    if not seen.covers(before_seen):
        yield "the earlier run knew rows that this one doesn't"
    for log in logs:
        if any(_removed_rows(tables, log, before_seen.logs[log.name][1])):
            yield f"{log.name} isn't append-only since"
        if _is_counted_anew(tables, log, before_seen.logs[log.name][1]):
            yield f"people's events were erased from {log.name} since, with their counts"
    if table.kind == "snapshot" and missing_files(tables.snapshot(table, before.version)):
        yield "the earlier result can't be read any more"


def _removed_rows(tables: Tables, log: Table, since: int) -> Iterator[bool]:
    """For each later commit whether it took rows away, or may have: its entry is gone."""
    if since and tables.exists(log):
        delta = tables.snapshot(log)
        folder = scan(delta).filesystem
        for version in range(since + 1, delta.version() + 1):
            changes = changed_by(folder, version)
            yield changes is None or "remove" in changes


def _is_counted_anew(tables: Tables, log: Table, since: int) -> bool:
    """Whether an erasure asks for it (`erasure.counts`)."""
    if not tables.exists(log):
        return False
    text = tables.snapshot(log).metadata().configuration.get(COUNTED_ANEW) or ""
    return text != "" and since <= int(text.partition(" ")[0])


def _seen_by(commit: Commit) -> Seen | None:
    text = commit.facts.get(LOGS)
    if text is None:
        return None
    logs = {name: (str(i), int(version)) for name, (i, version) in json.loads(str(text)).items()}
    return Seen(commit.as_of_us, FOREVER if commit.live else commit.as_of_us, logs)


def _state(tables: Tables, log: Table) -> tuple[str, int]:
    if not tables.exists(log):
        return "", 0
    delta = tables.snapshot(log)
    return str(delta.metadata().id), delta.version()


def _known_after(us: int) -> Condition:
    return Condition(f"{CREATED_TIME} > {_time(us)}", ds.field(CREATED_TIME) > _scalar(us))


def _scalar(us: int) -> pa.Scalar:
    return pa.scalar(us, pa.int64()).cast(TIMESTAMP)


def _time(us: int) -> str:
    return f"TIMESTAMP '{moment(us).removesuffix('+00:00').replace('T', ' ')}'"


@contextmanager
def connect(run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine for SQL in this process, in UTC; what is beyond memory goes to the home's disk."""
    with (
        tempfile.TemporaryDirectory(dir=run.tables.home, prefix=".spill-") as spill,
        duckdb.connect(config={"temp_directory": spill}) as con,
    ):
        con.execute("SET TimeZone = 'UTC'")
        yield con


def view_rows(
    con: duckdb.DuckDBPyConnection, name: str, run: Run, log: Table, seen: Seen, where: Condition
) -> str:
    """A view of a log's rows at the version that a run sees; its name."""
    version = seen.logs[log.name][1]
    if run.tables.exists(log):
        con.register(f"all_{name}", scan(run.tables.snapshot(log, version)))
    else:
        con.register(f"all_{name}", arrow_schema(log).empty_table())
    con.execute(f"CREATE VIEW {name} AS FROM all_{name} WHERE {where}")
    return name


def log_frame(run: Run, log: Table, seen: Seen, where: Condition) -> DataFrame:
    """Rows of a log at the version that a run sees, as a frame of the run's session."""
    from vidtopics.tables.spark_reader import at_version

    run.spark  # noqa: B018  starts the session
    rows = at_version(run.tables, log, seen.logs[log.name][1], where=where.arrow)
    return rows.filter(where.sql)
