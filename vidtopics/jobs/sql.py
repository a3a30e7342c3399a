"""One SQL text for two engines: DuckDB in this process, and Spark on executors.

A job states its query once. Tables stand in it as `{name}`; what the engines spell differently
(lists in an order, lists as rows) comes from the engine. DuckDB spills to the home's disk.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow.dataset as ds

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.jobs.increments import Condition, Plan, Seen, connect, log_frame, view_rows
from vidtopics.jobs.job import Computed, Run
from vidtopics.jobs.reuse import exclude

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyspark.sql import DataFrame

Item = Literal["BIGINT", "FLOAT", "STRING"]
NEVER = (-1, -1)
"""As of when, and as known when, a table without an earlier run is read: it has no rows."""


class Engine(Protocol):
    """What a query may name, and how it is run."""

    def log(self, name: str, log: Table, seen: Seen, where: Condition) -> None:
        """Name the rows of a log, at the version that a run sees, that meet a condition."""

    def base(self, name: str, table: Table, chosen: Plan, *, of: str) -> None:
        """Name the rows, of the run that a plan goes on from, of the keys that a query has.

        The others are rows of the result as they are. None where there is no such run.
        """

    def rows_before(self, name: str, table: Table, chosen: Plan) -> None:
        """Name all rows of the run that a plan goes on from."""

    def now(self, name: str, table: Table) -> None:
        """Name the rows of a table that hold as of the run."""

    def view(self, name: str, query: str, *, reused: bool = False) -> None:
        """Name a query; one that is `reused` is computed once."""

    def value(self, query: str) -> Any:
        """The first column of a query's only row."""

    def in_order(self, column: str, item: Item, place: str = "place") -> str:
        """SQL that aggregates a column to a list by a column of places; null: left out."""

    def as_rows(self, table: str, key: str, columns: Mapping[str, str]) -> str:
        """SQL for a row of `key` and an item of each list, which are of one length.

        `columns`: by name the list.
        """


Build = Callable[[Run, Engine], tuple[str, Mapping[str, float | str]]]
"""Names what a job's query needs; returns the query of its rows, and the commit's facts."""


def on_duckdb(run: Run, build: Build) -> Computed:
    """A job's rows, computed in this process."""
    with connect(run) as con:
        engine = DuckEngine(run, con)
        query, facts = build(run, engine)
        return Computed(engine.rows(query), facts=facts, reused=engine.reused)


def on_spark(run: Run, build: Build) -> Computed:
    """The same on executors."""
    engine = SparkEngine(run)
    query, facts = build(run, engine)
    if engine.unchanged:
        query = f"{query} UNION ALL SELECT * FROM {{{engine.unchanged}}}"
    engine.view("rows", query, reused=True)
    return Computed(engine.frames["rows"], facts=facts)


def names_in(query: str) -> list[str]:
    """The tables that a query names.

    >>> names_in("SELECT * FROM {new} JOIN {base} USING (user_id)")
    ['new', 'base']
    """
    return [name for _, name, _, _ in string.Formatter().parse(query) if name]


class DuckEngine:
    """DuckDB, with Spark's name for the microseconds of a time."""

    def __init__(self, run: Run, con: duckdb.DuckDBPyConnection) -> None:
        self._run, self._con = run, con
        self.reused: pa.Table | None = None
        con.execute("CREATE MACRO unix_micros(t) AS epoch_us(t)")

    def log(self, name: str, log: Table, seen: Seen, where: Condition) -> None:
        """As :class:`Engine`."""
        view_rows(self._con, name, self._run, log, seen, where)

    def base(self, name: str, table: Table, chosen: Plan, *, of: str) -> None:
        """As :class:`Engine`; of the other rows keys, times and hashes alone are read."""
        [key] = table.key
        keys, at = self.rows(of)[key], _times(chosen)
        where = ds.field(key).isin(keys.combine_chunks())
        self._con.register(name, self._run.tables.as_of(table, *at, where=where))
        columns = [key, EVENT_TIME, CREATED_TIME, VALUE_HASH]
        self.reused = exclude(self._run.tables.as_of(table, *at, columns=columns), key, keys)

    def rows_before(self, name: str, table: Table, chosen: Plan) -> None:
        """As :class:`Engine`."""
        self._con.register(name, self._run.tables.as_of(table, *_times(chosen)))

    def now(self, name: str, table: Table) -> None:
        """As :class:`Engine`."""
        self._con.register(name, self._run.read(table))

    def arrow(self, name: str, rows: pa.Table) -> None:
        """Name rows that are in memory."""
        self._con.register(name, rows)

    def view(self, name: str, query: str, *, reused: bool = False) -> None:
        """As :class:`Engine`."""
        self._con.execute(f"CREATE {'TEMP TABLE' if reused else 'VIEW'} {name} AS {_plain(query)}")

    def value(self, query: str) -> Any:
        """As :class:`Engine`."""
        return self._con.sql(_plain(query)).fetchall()[0][0]

    def rows(self, query: str) -> pa.Table:
        """The rows of a query."""
        return self._con.sql(_plain(query)).to_arrow_table()

    def in_order(self, column: str, item: Item, place: str = "place") -> str:
        """As :class:`Engine`."""
        listed = f"LIST(CAST({column} AS {item}) ORDER BY {place})"
        return f"COALESCE({listed} FILTER (WHERE {place} IS NOT NULL), CAST([] AS {item}[]))"

    def as_rows(self, table: str, key: str, columns: Mapping[str, str]) -> str:
        """As :class:`Engine`."""
        items = (f"UNNEST({column}) AS {name}" for name, column in columns.items())
        return f"SELECT {key}, {', '.join(items)} FROM {{{table}}}"


class SparkEngine:
    """The run's Spark session."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.frames: dict[str, DataFrame] = {}
        self.unchanged = ""

    def log(self, name: str, log: Table, seen: Seen, where: Condition) -> None:
        """As :class:`Engine`."""
        self.frames[name] = log_frame(self._run, log, seen, where)

    def base(self, name: str, table: Table, chosen: Plan, *, of: str) -> None:
        """As :class:`Engine`."""
        [key] = table.key
        self.rows_before(f"all_{name}", table, chosen)
        rows, keys = self.frames[f"all_{name}"], self._frame(of).select(key).distinct()
        self.frames[name] = rows.join(keys, key, "left_semi")
        self.unchanged = f"unchanged_{name}"
        self.frames[self.unchanged] = rows.join(keys, key, "left_anti")

    def rows_before(self, name: str, table: Table, chosen: Plan) -> None:
        """As :class:`Engine`."""
        self._run.spark  # noqa: B018  starts the session
        self.frames[name] = self._run.tables.spark_as_of(table, *_times(chosen))

    def now(self, name: str, table: Table) -> None:
        """As :class:`Engine`."""
        self.frames[name] = self._run.frame(table)

    def view(self, name: str, query: str, *, reused: bool = False) -> None:
        """As :class:`Engine`.

        What is reused is computed now, and kept until nothing names it: a plan that repeats all
        before it takes longer to make than the rows of a small table. It is kept twice, as it
        can't be computed again once the executor that has it is lost.
        """
        frame = self._frame(query)
        if reused:
            from pyspark import StorageLevel

            frame = frame.localCheckpoint(storageLevel=StorageLevel.MEMORY_AND_DISK_2)
        self.frames[name] = frame

    def value(self, query: str) -> Any:
        """As :class:`Engine`."""
        row = self._frame(query).first()
        assert row is not None
        return row[0]

    def in_order(self, column: str, item: Item, place: str = "place") -> str:
        """As :class:`Engine`."""
        entries = f"struct({place}, CAST({column} AS {item}) AS item)"
        listed = f"collect_list({entries}) FILTER (WHERE {place} IS NOT NULL)"
        return f"transform(array_sort({listed}), entry -> entry.item)"

    def as_rows(self, table: str, key: str, columns: Mapping[str, str]) -> str:
        """As :class:`Engine`."""
        lists: Sequence[str] = [f"{column} AS {name}" for name, column in columns.items()]
        zipped = f"inline(arrays_zip({', '.join(columns)}))"
        return f"SELECT {key}, {zipped} FROM (SELECT {key}, {', '.join(lists)} FROM {{{table}}})"

    def _frame(self, query: str) -> DataFrame:
        frames: dict[str, Any] = {name: self.frames[name] for name in names_in(query)}
        return self._run.spark.sql(query, **frames)


def _times(chosen: Plan) -> tuple[int, int]:
    return (chosen.base.as_of_us, chosen.base.created_us) if chosen.base else NEVER


def _plain(query: str) -> str:
    return query.format(**{name: name for name in names_in(query)})
