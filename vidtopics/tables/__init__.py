"""The tables below one home: reading them as of a time, and publishing to them.

`docs/tables.md` lists the tables, `docs/time.md` the rules. Every job publishes through
:meth:`Tables.publish`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from vidtopics.contracts import (
    CREATED_TIME,
    EVENT_TIME,
    LOGBOOKS,
    PARTITION_DATE,
    RELEASES,
    TABLES,
    VALUE_HASH,
    Table,
)
from vidtopics.errors import (
    ConflictError,
    ContractError,
    OutdatedError,
    TableError,
    explain,
)
from vidtopics.failpoints import failpoint
from vidtopics.paths import to_uri
from vidtopics.settings import folder
from vidtopics.storage import mirrors
from vidtopics.tables import releases, tail
from vidtopics.tables.commits import (
    Commit,
    CommitLog,
    commits,
    data_version,
    is_done,
    next_ordinal,
)
from vidtopics.tables.difference import RunTimes
from vidtopics.tables.latest_rows import LatestRows, latest
from vidtopics.tables.releases import Release
from vidtopics.tables.scans import row_groups_with, scan
from vidtopics.tables.schemas import arrow_schema, configuration
from vidtopics.tables.stamps import LateError, Lead, lead_of
from vidtopics.tables.taking import LARGEST
from vidtopics.tables.whole import whole
from vidtopics.times import micros, moment

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["Commit", "Publication", "Tables"]

FOREVER = 2**62
OPENED = 64
"""Versions that are kept open for readers: three of each table."""
_again = retry(
    retry=retry_if_exception_type(ConflictError),
    stop=stop_after_attempt(8),
    wait=wait_random(0, 0.5),
    reraise=True,
)


@dataclass(frozen=True)
class Publication:
    """The table, the version and the row count of a publish; `skipped`: nothing had changed."""

    table: str
    version: int
    rows: int
    skipped: bool = False


class Tables:
    """The Delta tables below `home`/tables.

    Where the home is the mirror of a bucket (:mod:`vidtopics.storage.mirrors`), its tables are read
    and written there.
    """

    def __init__(self, home: str | os.PathLike[str]) -> None:
        self.home = folder(home).absolute()
        self.bucket = mirrors.origin(self.home)

    def path(self, table: Table) -> Path:
        """The table's folder."""
        return self.home / "tables" / table.name

    def uri(self, table: Table) -> str:
        """The table's folder as delta-rs takes it."""
        if self.bucket is not None:
            return f"{self.bucket}/tables/{table.name}"
        return to_uri(self.path(table))

    def exists(self, table: Table) -> bool:
        """Whether the table has been created."""
        return tail.latest_version(self.path(table) / tail.LOG) is not None

    def delta(
        self, table: Table, *, create: bool = False, version: int | None = None
    ) -> DeltaTable:
        """The table's snapshot; TableError where it is missing or of another contract."""
        uri = self.uri(table)
        if not self.exists(table):
            if not create:
                raise TableError(
                    explain(
                        str(self.path(table)),
                        expected=f"the table {table.name}",
                        found="nothing",
                        mend="run `vidtopics ingest` and `vidtopics run`",
                    )
                )
            if self.bucket is None:
                self.path(table).mkdir(parents=True, exist_ok=True)
            else:
                from vidtopics.storage import sending  # it loads obstore, which folders don't need

                sending.claim(self.home)
            DeltaTable.create(
                uri,
                schema=arrow_schema(table),
                mode="ignore",
                name=table.name,
                description=table.doc,
                configuration=configuration(table),
                partition_by=[PARTITION_DATE] if table.by_day else None,
            )
        delta = DeltaTable(uri, version=version)
        _refuse_other_contract(table, delta)
        return delta

    def snapshot(self, table: Table, version: int | None = None) -> DeltaTable:
        """The same to read alone: readers of one version share a handle.

        A run asks a hundred times for some thirty versions. An entry of a log never changes; a
        table that was put in another's place has another file under the same number.
        """
        log = self.path(table) / tail.LOG
        number = tail.latest_version(log) if version is None else version
        identity = None if number is None else tail.entry_identity(log, number)
        if number is None or identity is None:  # no table, or a version that a checkpoint alone has
            return self.delta(table, version=version)
        delta = _opened(self.uri(table), number, (identity, tail.erased_identity(log)))
        _refuse_other_contract(table, delta)
        return delta

    def version(self, table: Table) -> int:
        """The table's latest version; 0, as it is created, where it wasn't."""
        return tail.latest_version(self.path(table) / tail.LOG) or 0

    def read(
        self,
        table: Table,
        *,
        columns: Iterable[str] | None = None,
        version: int | None = None,
        where: ds.Expression | None = None,
    ) -> pa.Table:
        """All rows of a version (by default the latest); an empty table where none was created.

        Where a vacuum took files of a version after a compaction, its rows are read from the
        version that has them (:func:`whole`).
        """
        if not self.exists(table):
            schema = arrow_schema(table)
            return schema.empty_table().select(list(columns or schema.names))
        dataset = self._dataset(table, version)
        names = list(columns) if columns else dataset.schema.names
        if where is not None and _has_vectors(table, names):
            dataset = row_groups_with(dataset, where)
        return dataset.to_table(columns=names, filter=where)

    def _dataset(self, table: Table, version: int | None) -> ds.FileSystemDataset:
        delta = self.snapshot(table, version)
        return scan(delta if version is None else whole(delta))

    def as_of(
        self,
        table: Table,
        at_us: int,
        known_by_us: int = FOREVER,
        *,
        columns: Iterable[str] | None = None,
        version: int | None = None,
        where: ds.Expression | None = None,
    ) -> pa.Table:
        """What a reader sees as of a time, knowing what was known by another.

        A history table gives per key the row with the latest (event, created) among `event <= at,
        created <= known_by`, without ended values; a log the events strictly before `at`; a
        snapshot the version of the latest run up to `at`. With `version`, a history table or log is
        read as it was at that version; `where` picks entities by their keys.
        """
        names = [*(columns or (c.name for c in table.columns))]
        if table.kind == "snapshot":
            return (
                self.read(table, columns=names, version=self._snapshot_version(table, at_us))
                if self.exists(table)
                else self.read(table, columns=names)
            )
        condition = _seen(table, at_us, known_by_us, where)
        if table.kind == "log":
            return self.read(table, columns=names, version=version, where=condition)
        if _has_vectors(table, names) and self.exists(table):
            return LatestRows.of(table, self._dataset(table, version), condition).read(*names)
        required = dict.fromkeys([*names, *table.key, EVENT_TIME, CREATED_TIME, VALUE_HASH])
        rows = self.read(table, columns=required, version=version, where=condition)
        return latest(table, rows, names)

    def latest_rows(
        self,
        table: Table,
        at_us: int,
        known_by_us: int = FOREVER,
        *,
        where: ds.Expression | None = None,
    ) -> LatestRows:
        """Which rows of a history table :meth:`as_of` gives, for vectors that don't fit memory."""
        condition = _seen(table, at_us, known_by_us, where)
        return LatestRows.of(table, scan(self.snapshot(table)), condition)

    def spark_as_of(
        self,
        table: Table,
        at_us: int,
        known_by_us: int = FOREVER,
        *,
        columns: Iterable[str] | None = None,
    ) -> DataFrame:
        """The same as :meth:`as_of`, as a DataFrame of the active Spark session."""
        from vidtopics.tables import spark_reader

        where = _seen(table, at_us, known_by_us, None)
        return spark_reader.as_of(self, table, at_us, known_by_us, columns=columns, where=where)

    def newest_rows(self, table: Table) -> Iterator[dict[str, Any]]:
        """The rows of an append-only log, those of the last commit first, each when asked for.

        They are read from the end of the table's log. Where that doesn't reach back far enough (or
        up to a compaction) the whole table is read, and rows come by falling key.
        """
        passed = set()
        try:
            for row in tail.appended_rows(self.path(table)):
                if any(column.name not in row for column in table.columns):
                    break
                passed.add(tuple(row[key] for key in table.key))
                yield row
            else:
                return
        except tail.RewrittenError:
            pass
        order = [(name, "descending") for name in table.key]
        for row in self.read(table).sort_by(order).to_pylist():
            if tuple(row[key] for key in table.key) not in passed:
                yield row

    def commits(self, table: Table) -> CommitLog:
        """Our commits to the table, oldest first; empty where it wasn't created."""
        log = self.path(table) / tail.LOG
        version = tail.latest_version(log)
        return CommitLog(log, -1 if version is None else version)

    def input_versions(
        self, tables: Iterable[Table], *, as_of_us: int, known_by_us: int
    ) -> dict[str, int]:
        """For each table the last version that changed what such a reader can see."""
        return {
            t.name: data_version(t, self.commits(t), as_of_us=as_of_us, known_by_us=known_by_us)
            for t in tables
        }

    def data_version(self, table: Table) -> int:
        """The table's last version that changed rows; 0 where there is none."""
        log = self.commits(table)
        return data_version(table, log, as_of_us=FOREVER, known_by_us=FOREVER)

    def data_versions(self) -> dict[str, int]:
        """The last data-changing version of every table that has one, logbooks aside."""
        versions = {t.name: self.data_version(t) for t in TABLES.values() if t not in LOGBOOKS}
        return {name: version for name, version in versions.items() if version}

    def is_done(self, table: Table, commit: Commit) -> bool:
        """Whether the last run at this as-of time had the same skip key."""
        return is_done(self.commits(table), commit)

    def publish(
        self,
        table: Table,
        rows: pa.Table | ds.Dataset | DataFrame,
        commit: Commit,
        *,
        changes: bool = False,
        widths: Mapping[str, int] | None = None,
        judged_at: int | None = None,
        reused: pa.Table | None = None,
    ) -> Publication:
        """Publish a job's rows in one commit, exactly once; ContractError where they break it.

        * history: `rows` hold every entity's value as of `commit.as_of_us`; changed values are
          written, and a tombstone for each entity that is missing. Rows of the table that hold as
          they are may be named in `reused` instead (key, times, value hash). With `changes`, rows
          carry their own times and hold only some entities; a row whose values are all null ends
          its entity.
        * log: rows whose keys are new are appended.
        * snapshot: the rows replace the table's.

        `widths` resolves the contract's named vector widths (`tag_width`). Another writer's commit
        in between makes it start over from the new version, up to eight times (ConflictError).
        With `judged_at`, the version that the rows were made from, it is an OutdatedError instead.

        Rows of a live run that have no times of their own are stamped as known from a moment after
        their commit on (:mod:`vidtopics.tables.stamps`).
        """
        _refuse_future(table, commit)
        stamped = commit.live and not changes and table.kind != "log"
        lead: Lead | None = None

        @_again
        def attempt() -> Commit:
            nonlocal lead
            delta = self.delta(table, create=True)
            _refuse_outdated(table, delta, judged_at)
            log = commits(delta)
            failpoint("publish.read")
            own = commit
            if stamped:
                lead = lead or lead_of(delta, log, commit.job, table.engine)
                own = lead.stamp(commit)
            own = replace(
                own, ordinal=next_ordinal(delta, own.job), created_us=_after_reruns(log, own)
            )
            try:
                with self.committing(table):
                    return self._dispatch(
                        table, delta, rows, own, log, changes, widths or {}, reused
                    )
            except LateError:
                assert lead is not None
                lead.grow()
                raise

        done = attempt()
        return Publication(table.name, done.version, done.rows)

    @contextmanager
    def committing(self, table: Table) -> Iterator[None]:
        """For a commit to a table: in a bucket what a run wrote beside it is sent before.

        After it the mirror has the table's log.
        """
        if self.bucket is None:
            yield
            return
        from vidtopics.storage import sending

        sending.send(self.home)
        yield
        mirrors.follow_table(self.uri(table))
        sending.remove(self.home)

    def latest_release(self) -> dict[str, Any]:
        """The row of the release in force, as :func:`releases.latest_release`; or TableError."""
        return releases.latest_release(self)

    def _dispatch(
        self,
        table: Table,
        delta: DeltaTable,
        rows: pa.Table | ds.Dataset | DataFrame,
        commit: Commit,
        log: CommitLog,
        changes: bool,
        widths: Mapping[str, int],
        reused: pa.Table | None,
    ) -> Commit:
        following = _next_run(log, commit)
        if table.engine == "spark":
            from pyspark.sql import DataFrame

            from vidtopics.tables import spark_engine

            if not isinstance(rows, DataFrame):
                raise _wrong_kind(table, "a Spark DataFrame", rows)
            if table.kind == "snapshot":
                return spark_engine.publish_snapshot(table, delta, rows, commit, log.last())
            return spark_engine.publish_complete(table, delta, rows, commit, following, widths)
        from vidtopics.tables import deltalake_engine  # it loads DuckDB, which readers don't need

        dataset = ds.dataset(_in_few_chunks(rows)) if isinstance(rows, pa.Table) else rows
        if not isinstance(dataset, ds.Dataset):
            raise _wrong_kind(table, "an Arrow table or dataset", rows)
        if table.kind == "log":
            with tempfile.TemporaryDirectory(dir=self.home, prefix=".spill-") as spill:
                return deltalake_engine.publish_log(table, delta, dataset, commit, widths, spill)
        if table.kind == "snapshot":
            return deltalake_engine.publish_snapshot(table, delta, dataset, commit, log.last())
        if changes:
            return deltalake_engine.publish_changes(table, delta, dataset, commit, widths)
        return deltalake_engine.publish_complete(
            table, delta, dataset, commit, following, widths, reused
        )

    def _snapshot_version(self, table: Table, at_us: int) -> int:
        version = data_version(table, self.commits(table), as_of_us=at_us, known_by_us=FOREVER)
        if not version:
            raise TableError(
                explain(
                    table.name,
                    expected=f"a run as of {moment(at_us)} or before",
                    found="none",
                    mend=f"vidtopics run {table.name}",
                )
            )
        return version


@lru_cache(OPENED)
def _opened(
    uri: str, version: int, identity: tuple[tail.Identity, tail.Identity | None]
) -> DeltaTable:
    """A version of a table; `identity` tells its log's entry from another of that number."""
    return DeltaTable(uri, version=version)


def _seen(table: Table, at_us: int, known_by_us: int, where: ds.Expression | None) -> ds.Expression:
    """The condition of a history's or log's rows that a reader sees, in whatever order."""
    event, at = ds.field(EVENT_TIME), _time(at_us)
    before = event < at if table.kind == "log" else event <= at
    condition = before & (ds.field(CREATED_TIME) <= _time(known_by_us))
    return condition if where is None else condition & where


def _has_vectors(table: Table, names: Iterable[str]) -> bool:
    vectors = {column.name for column in table.columns if column.type == "list<float32>"}
    return not vectors.isdisjoint(names)


def _in_few_chunks(rows: pa.Table) -> pa.Table:
    """The rows as one chunk, where that is a small copy: each is checked and hashed by itself."""
    return rows.combine_chunks() if rows.nbytes <= LARGEST else rows


def _wrong_kind(table: Table, expected: str, rows: object) -> ContractError:
    return ContractError(
        explain(
            table.name,
            expected=expected,
            found=type(rows).__name__,
            mend="see its contract's engine",
        )
    )


def _after_reruns(log: CommitLog, commit: Commit) -> int:
    """The created time: a second run at one as-of time is known 1 µs later, and wins."""
    runs = log.as_of_or_later(commit.as_of_us)
    same = [c.created_us + 1 for c in runs if c.job == commit.job and c.as_of_us == commit.as_of_us]
    return max([commit.created_us, *same])


def _next_run(log: CommitLog, commit: Commit) -> RunTimes | None:
    later = [
        RunTimes(c.as_of_us, c.created_us)
        for c in log.as_of_or_later(commit.as_of_us + 1)
        if c.job == commit.job
    ]
    return min(later, key=lambda run: (run.event_us, run.created_us), default=None)


def _refuse_other_contract(table: Table, delta: DeltaTable) -> None:
    """TableError where the stored table is of another name or lacks a column of the contract."""
    named = delta.metadata().name
    if named != table.name:
        raise TableError(
            explain(
                delta.table_uri,
                expected=f"a table of contract {table.name}",
                found=repr(named),
                mend="move the foreign table away",
            )
        )
    names = [field.name for field in delta.schema().fields]
    required = table.all_columns if table.by_day else table.columns
    missing = [c.name for c in required if c.name not in names]
    if missing:
        raise TableError(
            explain(
                delta.table_uri,
                expected=f"the columns of {table.name}, with {', '.join(missing)}",
                found=f"only {', '.join(names)}, of another version of vidtopics",
                mend="ingest and run into a new home (`--home`)",
            )
        )


def _refuse_outdated(table: Table, delta: DeltaTable, judged_at: int | None) -> None:
    if judged_at is not None and delta.version() != judged_at:
        raise OutdatedError(
            explain(
                table.name,
                expected=f"version {judged_at}, which the rows were made from",
                found=f"version {delta.version()}, of another writer",
                mend="run again",
            )
        )


def _refuse_future(table: Table, commit: Commit) -> None:
    now = micros(datetime.now(UTC))
    if commit.as_of_us > commit.created_us or commit.created_us > now:
        raise ContractError(
            explain(
                f"{table.name}, run as of {moment(commit.as_of_us)}",
                expected="event time <= created time <= now",
                found=f"created {moment(commit.created_us)}, now {moment(now)}",
                mend="choose an earlier as-of time",
            )
        )


def _time(us: int) -> pa.Scalar:
    from vidtopics.tables.schemas import TIMESTAMP

    return pa.scalar(us, pa.int64()).cast(TIMESTAMP)
