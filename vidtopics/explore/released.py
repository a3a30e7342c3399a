"""The tables as releases name them, in a database on disk that the page is computed in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.errors import TableError, explain
from vidtopics.gates.versions import dataset_of
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, newest_released
from vidtopics.tables.whole import readable

MEMORY_LIMIT = "1GB"
DAY_US = 86_400_000_000
DAYS = 8
"""Releases whose figures the page shows, one a day: seven differences."""


@dataclass(frozen=True)
class Workspace:
    """DuckDB on disk, in `scratch`, and the tables; `history` ends with the release in force."""

    con: duckdb.DuckDBPyConnection
    tables: Tables
    history: tuple[Release, ...]
    scratch: Path

    @property
    def release(self) -> Release:
        """The release in force."""
        return self.history[-1]

    def load(
        self, name: str, table: Table, columns: tuple[str, ...], *, release: Release | None = None
    ) -> None:
        """Create `name` with the rows that are live as of a release, by default the one in force.

        Raises:
            TableError: a file of the version is gone, or its rows are of another topic epoch.
        """
        release = release or self.release
        version = release.versions.get(table.name)
        self.con.register("rows", dataset_of(self.tables, table, version))
        with readable(table, version):
            self.con.execute(
                f"CREATE OR REPLACE TABLE {name} AS {_live(table, columns, release.as_of_us)}"
            )
        self.con.unregister("rows")
        if "topic_epoch" in columns:
            self._refuse_other_epochs(name, table, release)

    def dataset(self, table: Table) -> ds.Dataset:
        """The rows of the release's version, as its files hold them."""
        return dataset_of(self.tables, table, self.release.versions.get(table.name))

    def execute(self, sql: str, parameters: dict[str, Any] | None = None) -> None:
        """Run statements."""
        self.con.execute(sql, parameters)

    def columns(self, sql: str) -> pa.Table:
        """The rows of a query as Arrow columns."""
        return self.con.sql(sql).to_arrow_table()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, few of them."""
        rows: list[dict[str, Any]] = self.columns(sql).to_pylist()
        return rows

    def integers(self, sql: str) -> dict[str, NDArray[np.int64]]:
        """The columns of a query that gives whole numbers."""
        table = self.columns(sql)
        return {name: table[name].to_numpy().astype(np.int64) for name in table.column_names}

    def number(self, sql: str) -> int:
        """The single number of a query; 0 where it is null."""
        return int(self.con.execute(sql).fetchall()[0][0] or 0)

    def _refuse_other_epochs(self, name: str, table: Table, release: Release) -> None:
        rows = self.con.execute(f"SELECT DISTINCT topic_epoch FROM {name} ORDER BY 1").fetchall()
        epochs = [epoch for (epoch,) in rows]
        if set(epochs) - {release.topic_epoch}:
            raise TableError(
                explain(
                    table.name,
                    expected=f"topic epoch {release.topic_epoch}, the release's",
                    found=f"{epochs}",
                    mend="run `vidtopics run`, so that all tables follow the new epoch",
                )
            )


@contextmanager
def opened(tables: Tables) -> Iterator[Workspace]:
    """The release in force and those before it; the database lies in the system's scratch folder.

    Raises:
        TableError: nothing was released.
    """
    tables.latest_release()  # or the error that says how to make one
    history = tuple(daily(newest_released(tables)))
    with (
        tempfile.TemporaryDirectory(prefix="vidtopics-page-") as scratch,
        duckdb.connect(
            str(Path(scratch) / "page.duckdb"),
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": f"{scratch}/spill",
                "preserve_insertion_order": False,
            },
        ) as con,
    ):
        con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        yield Workspace(con, tables, history, Path(scratch))


def daily(newest_first: Iterator[Release], days: int = DAYS) -> list[Release]:
    """The newest release and the last one of each earlier day, `days` at most, oldest first.

    They end where the topic epoch changes: IDs of two epochs can't be compared.

    >>> log = [(5, 49), (4, 30), (3, 26), (2, 25), (1, 1)]  # release, as of which hour
    >>> releases = (Release(n, "released", h * DAY_US // 24, 0, {}) for n, h in log)
    >>> [release.release_id for release in daily(releases)]
    [1, 4, 5]
    """
    chosen = [next(newest_first)]
    for release in newest_first:
        if release.topic_epoch != chosen[0].topic_epoch or len(chosen) == days:
            break
        if release.as_of_us // DAY_US < chosen[-1].as_of_us // DAY_US:
            chosen.append(release)
    return chosen[::-1]


def _live(table: Table, columns: tuple[str, ...], as_of_us: int) -> str:
    """SQL over `rows`: the columns of the rows that hold at the time, without ended values."""
    names = ", ".join(columns)
    if table.kind != "history":
        return f"SELECT {names} FROM rows"
    read = ", ".join(dict.fromkeys([*table.key, *columns, VALUE_HASH]))
    return f"""
        SELECT {names} FROM (
          SELECT {read} FROM rows WHERE {EVENT_TIME} <= make_timestamptz({as_of_us})
          QUALIFY row_number() OVER (
            PARTITION BY {", ".join(table.key)}
            ORDER BY {EVENT_TIME} DESC, {CREATED_TIME} DESC) = 1)
        WHERE {VALUE_HASH} IS DISTINCT FROM 0"""
