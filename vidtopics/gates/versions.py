"""The tables of two releases: live rows by narrow columns, and the rows that came since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, TABLES, VALUE_HASH, Column, Table
from vidtopics.errors import TableError, explain
from vidtopics.faults import without_stack
from vidtopics.files import scratch_folder
from vidtopics.gates.verdicts import FIRST_LOAD
from vidtopics.joins.latest import latest
from vidtopics.tables import Tables
from vidtopics.tables.data_files import data_files
from vidtopics.tables.scans import scan, scan_files
from vidtopics.tables.schemas import arrow_schema
from vidtopics.tables.whole import readable, whole
from vidtopics.timestamps import microseconds

MEMORY_LIMIT = "1GB"
NUMBERS = ("int64", "int32", "float32", "float64", "bool")
LISTS = frozenset({"topic_ids"})
"""Lists that a figure is made of."""
Side = Literal["before", "after"]
Versions = Mapping[str, int]


@dataclass(frozen=True)
class Releases:
    """Two releases side by side, in one DuckDB that spills beside the tables.

    A table's `live` rows are what consumers see at its version: of each key the latest (event,
    created), without those that have ended, and without retired topics. `lost`: versions of the
    release in force that don't open any more, as a table was replaced or its log cleaned.
    """

    con: duckdb.DuckDBPyConnection
    tables: Tables
    before: Versions
    after: Versions
    lost: Versions
    views: set[str] = field(default_factory=set)

    def nothing_before(self, table: Table) -> str:
        """Why there are no rows of before to compare with."""
        if table.name in self.lost:
            return f"version {self.lost[table.name]}, to compare with, doesn't open"
        return FIRST_LOAD

    def old(self, table: Table) -> str:
        """Name of the relation of rows that are live in the release in force."""
        return self._live(table, "before")

    def new(self, table: Table) -> str:
        """Name of the relation of rows that are live in the candidate."""
        return self._live(table, "after")

    def count(self, sql: str) -> int:
        """The single number that a query gives; 0 where it is null."""
        return int(self.row(sql)[0] or 0)

    def row(self, sql: str) -> tuple[Any, ...]:
        """The single row that a query gives."""
        return tuple(self.con.execute(sql).fetchall()[0])

    def ids(self, sql: str) -> list[int]:
        """The numbers of a query's first column."""
        return [int(row[0]) for row in self.con.execute(sql).fetchall()]

    def keys(self, sql: str) -> list[str]:
        """The texts of a query's first column, ten at most."""
        return [str(row[0]) for row in self.con.execute(f"{sql} LIMIT 10").fetchall()]

    def forget(self, table: Table) -> None:
        """Free what was read of a table."""
        for side in ("before", "after"):
            name = f"{side}_{table.name}"
            self.con.execute(f"DROP VIEW IF EXISTS {name}; DROP TABLE IF EXISTS {name}_rows")
            self.views.discard(name)

    def _live(self, table: Table, side: Side) -> str:
        name = f"{side}_{table.name}"
        if name not in self.views:
            if side == "before":
                self._create_whole(table, f"{name}_rows", self.before.get(table.name))
            else:
                self._create_after(table, f"{name}_rows")
            self.con.execute(f"CREATE TEMP VIEW {name} AS {live_rows(table, f'{name}_rows')}")
            self.views.add(name)
        return name

    def _create_after(self, table: Table, name: str) -> None:
        """The candidate's rows: those of before, where files that came since don't have their key.

        Of such a key both are compared. So files that both releases name are read once.
        """
        since = _files_since(self, table)
        if since is None:
            self._create_whole(table, name, self.after.get(table.name))
            return
        before = f"{self.old(table)}_rows"
        self._create(table, "brought", since, self.after[table.name])
        using = f"USING ({', '.join(table.key)})"
        both = f"(FROM brought UNION ALL BY NAME FROM {before} SEMI JOIN brought {using})"
        self.con.execute(
            f"CREATE TEMP TABLE {name} AS FROM {before} ANTI JOIN brought {using}"
            f" UNION ALL BY NAME FROM {both} QUALIFY {_is_latest(table)}"
        )
        self.con.execute("DROP TABLE brought")

    def _create_whole(self, table: Table, name: str, version: int | None) -> None:
        self._create(table, name, dataset_of(self.tables, table, version), version)

    def _create(self, table: Table, name: str, rows: ds.Dataset, version: int | None) -> None:
        self.con.register("rows", rows)
        with readable(table, version):
            self.con.execute(f"CREATE TEMP TABLE {name} AS {latest_rows(table)}")
        self.con.unregister("rows")


@contextmanager
def opened(tables: Tables, before: Versions | None, after: Versions) -> Iterator[Releases]:
    """Two releases' tables, read as they are asked for."""
    known = {name: version for name, version in (before or {}).items() if name in TABLES}
    changed = {name: v for name, v in known.items() if after.get(name) != v}
    lost = {name: v for name, v in changed.items() if not _opens(tables, TABLES[name], v)}
    usable = {name: v for name, v in known.items() if name not in lost}
    with (
        scratch_folder(tables.home, "gates") as spill,
        duckdb.connect(config={"temp_directory": str(spill), "memory_limit": MEMORY_LIMIT}) as con,
    ):
        yield Releases(con, tables, usable, after, lost)


def latest_rows(table: Table) -> str:
    """SQL over `rows`: key, narrow columns, value hash and times of each key's latest row.

    Ends of keys are among them. Of columns that aren't numbers only whether they are null is kept,
    before rows are ordered; vectors are left out.
    """
    names = [*table.key, *map(_shortened, _narrow(table))]
    if table.kind != "history":
        hashed = ", ".join(column.name for column in table.values)
        return f"SELECT {', '.join(names)}, hash({hashed}) AS {VALUE_HASH} FROM rows"
    columns = ", ".join([*names, VALUE_HASH, EVENT_TIME, CREATED_TIME])
    return f"FROM (SELECT {columns} FROM rows) QUALIFY {_is_latest(table)}"


def live_rows(table: Table, rows: str) -> str:
    """SQL over latest rows: key, its text, value hash and columns of those that are live."""
    text = " || '/' || ".join(f"CAST({name} AS VARCHAR)" for name in table.key)
    names = [*table.key, f"{text} AS key_text", *(c.name for c in _narrow(table)), VALUE_HASH]
    retired = " AND retired IS NULL" if table.name == "topics" else ""
    ended = f" WHERE {VALUE_HASH} IS DISTINCT FROM 0{retired}" if table.kind == "history" else ""
    return f"SELECT {', '.join(names)} FROM {rows}{ended}"


def _narrow(table: Table) -> list[Column]:
    return [column for column in table.values if column.type != "list<float32>"]


def _is_latest(table: Table) -> str:
    order = f"ORDER BY {EVENT_TIME} DESC, {CREATED_TIME} DESC"
    return f"ROW_NUMBER() OVER (PARTITION BY {', '.join(table.key)} {order}) = 1"


def is_number(column: Column) -> bool:
    """Whether a column holds numbers or truth values."""
    return column.type in NUMBERS


def _shortened(column: Column) -> str:
    if is_number(column) or column.name in LISTS:
        return column.name
    return f"CASE WHEN {column.name} IS NOT NULL THEN true END AS {column.name}"


@dataclass(frozen=True)
class Arrivals:
    """Rows of a table that came since a version: of each key the latest of them, without ends."""

    dataset: ds.FileSystemDataset
    is_arrival: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.is_arrival.sum())


def arrivals(releases: Releases, table: Table) -> Arrivals:
    """What the candidate brings: rows of its data files that the release in force doesn't have.

    A rejected run's rows lie among them; where a later run wrote a key again, only that counts.
    """
    delta = _whole(releases.tables, table, releases.after[table.name])
    names, before = data_files(delta), releases.before.get(table.name)
    if before is not None:
        names -= data_files(_snapshot(releases.tables, table, before))
    dataset = scan_files(delta, names)
    if table.kind != "history":
        return Arrivals(dataset, np.ones(dataset.count_rows(), bool))
    columns = [*table.key, EVENT_TIME, CREATED_TIME, VALUE_HASH]
    with readable(table, delta.version()):
        rows = dataset.to_table(columns=columns)
    event, created = (microseconds(rows[name]) for name in (EVENT_TIME, CREATED_TIME))
    is_arrival = np.zeros(len(rows), bool)
    is_arrival[latest(rows.select(list(table.key)), event, created)] = True
    is_arrival &= rows[VALUE_HASH].to_numpy() != 0
    return Arrivals(dataset, is_arrival)


def _files_since(releases: Releases, table: Table) -> ds.FileSystemDataset | None:
    """The candidate's rows in files that the release in force lacks.

    None where that release isn't there or has files that the candidate lacks (a compaction).
    """
    versions = (releases.before.get(table.name), releases.after.get(table.name))
    if table.kind != "history" or None in versions:
        return None
    before, after = (_whole(releases.tables, table, v) for v in versions if v is not None)
    earlier, names = data_files(before), data_files(after)
    return scan_files(after, names - earlier) if earlier <= names else None


def _opens(tables: Tables, table: Table, version: int) -> bool:
    try:
        tables.snapshot(table, version)
    except (DeltaError, TableError):
        return False
    return True


def dataset_of(tables: Tables, table: Table, version: int | None) -> ds.Dataset:
    """A version's rows; none where the release doesn't have the table."""
    if version is None:
        return ds.dataset(arrow_schema(table).empty_table())
    return file_dataset(tables, table, version)


def file_dataset(tables: Tables, table: Table, version: int) -> ds.FileSystemDataset:
    """A version's rows, by its data files."""
    return scan(_whole(tables, table, version))


def _whole(tables: Tables, table: Table, version: int) -> DeltaTable:
    return whole(_snapshot(tables, table, version))


def _snapshot(tables: Tables, table: Table, version: int) -> DeltaTable:
    try:
        return tables.snapshot(table, version)
    except DeltaError as error:
        raise TableError(
            explain(
                f"{table.name}, version {version}, which a release names",
                expected="a version that opens",
                found=without_stack(error),
                mend=f"restore its log from a backup, or run `vidtopics run {table.name}`",
            )
        ) from error
