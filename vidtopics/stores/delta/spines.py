"""The three spines that Feast's call takes: a frame, a SQL text, a range of time."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from feast import RepoConfig
from feast.infra.offline_stores.offline_utils import (
    DEFAULT_ENTITY_DF_EVENT_TIMESTAMP_COL as EVENT_TIMESTAMP,
)
from numpy.typing import NDArray

from vidtopics.errors import TableError, explain
from vidtopics.stores.delta.pins import reopen_at
from vidtopics.stores.delta.sources import ViewSource
from vidtopics.stores.delta.tables import (
    DAMAGED,
    dataset_of,
    open_table,
    out_of_reach,
    place_of,
    reaching,
)
from vidtopics.tables.pins import NEVER, Pins, Snapshot
from vidtopics.timestamps import microseconds

NUMBERS = (
    "integer",
    "floating",
    "decimal",
    "complex",
    "boolean",
    "mixed-integer",
    "mixed-integer-float",
)
"""What pandas calls columns with a number: of which unit, it would guess."""
INFINITY = 2**63 - 1
"""DuckDB's timestamp 'infinity' in Arrow; minus it is '-infinity'."""


@dataclass(frozen=True)
class Spine:
    """N rows with a time each.

    `tables`: the snapshots that they were read from. `end_us`: of a range of time, its end, by
    which the range's rows had to be known.
    """

    table: pa.Table
    time: str
    tables: dict[str, Snapshot] = field(default_factory=dict)
    end_us: int | None = None

    @property
    def times(self) -> NDArray[np.int64]:
        """int64[N] microseconds; NEVER where there is none."""
        return microseconds(self.table[self.time], null_us=NEVER)

    @property
    def until_us(self) -> int:
        """The latest time, or the end of the range."""
        return int(self.times.max(initial=NEVER)) if self.end_us is None else self.end_us

    @property
    def known_by_us(self) -> int | NDArray[np.int64]:
        """By when a row's value had to be known where that is asked for: its time, or the end."""
        return self.times if self.end_us is None else self.end_us

    @property
    def others(self) -> list[str]:
        """Its columns but the time."""
        return [name for name in self.table.column_names if name != self.time]


def from_frame(frame: object) -> Spine:
    """A DataFrame, whose time is `event_timestamp` or the only column of timestamps.

    Without a zone it is UTC.

    Raises:
        TableError: no DataFrame, no time column, or one that holds neither timestamps nor ISO 8601
            texts; a column twice, or of values that Arrow has no type for.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TableError(
            explain(
                "entity_df",
                expected="a pandas DataFrame, a SELECT or None",
                found=type(frame).__name__,
                mend="convert it",
            )
        )
    _check_unique_names([str(name) for name in frame.columns])
    if EVENT_TIMESTAMP in frame.columns:
        frame = frame.assign(**{EVENT_TIMESTAMP: _parsed_times(frame[EVENT_TIMESTAMP])})
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise TableError(
            explain(
                "entity_df",
                expected="columns of one type each, which Arrow has",
                found="; ".join(map(str, error.args)),
                mend="convert that column, or leave it out",
            )
        ) from error
    return _with_utc_time(table.replace_schema_metadata())


def from_sql(config: RepoConfig, query: str, pins: Pins | None) -> Spine:
    """One SELECT in DuckDB's SQL over the Delta tables below `root`, by their folders' names.

    It sees nothing else: no file, no variable.

    Raises:
        TableError: not one SELECT, a table that isn't there or has no pin, an error of DuckDB.
    """
    with duckdb.connect() as con:
        con.execute(
            "SET enable_external_access = false; SET python_enable_replacements = false; "
            "SET timezone = 'UTC'"
        )
        names = _tables_in(con, query)
        foreign = [name for name in names if not _is_folder(name)]
        if foreign:
            raise _query_error(query, f"the tables {', '.join(foreign)}")
        tables = {name: _open_table(config, name, pins) for name in names}
        try:
            for name, (delta, _) in tables.items():
                con.register(name, dataset_of(delta))
            table = con.sql(query).to_arrow_table()
            _check_unique_names(table.column_names)
        except duckdb.Error as error:
            if re.search(
                f"IOError: |{DAMAGED}", str(error)
            ):  # Arrow's, of a file that DuckDB asked it for
                places = ", ".join(f"{name}, {place_of(config, name).uri}" for name in tables)
                raise out_of_reach(f"entity_df, table {places}", error) from error
            raise _query_error(query, str(error)) from error
    return _with_utc_time(table, {name: snapshot for name, (_, snapshot) in tables.items()})


def from_range(sources: Sequence[ViewSource], start_us: int, end_us: int, *, known: bool) -> Spine:
    """Each entity at each time with start <= event <= end that one of its views has a row of, once.

    Rows come in the order of their keys and times. `known`: the row has to be known by the end.
    Where views have different keys, those that a view lacks are null. Views without entities add
    times of their own only where no view has entities.
    """
    with_keys = [source for source in sources if source.keys]
    parts = [_spine_in_range(source, start_us, end_us, known) for source in with_keys or sources]
    rows = pa.concat_tables(parts, promote_options="permissive")
    columns = [name for name in rows.column_names if name != EVENT_TIMESTAMP] + [EVENT_TIMESTAMP]
    table = rows.group_by(columns).aggregate([]).select(columns)
    table = table.sort_by([(name, "ascending") for name in columns])
    return Spine(table, EVENT_TIMESTAMP, end_us=end_us)


def _spine_in_range(source: ViewSource, start_us: int, end_us: int, known: bool) -> pa.Table:
    """Keys, as the spine calls them, and event times of a view's rows in a range."""
    with reaching(source.place, f"view {source.name}"):
        rows, _ = source.rows(end_us, known=known)
    # A pin whose version is gone gives rows up to its own time, which may be later.
    in_range = (
        (rows.event >= start_us) & (rows.event <= end_us) & ((rows.created <= end_us) | (not known))
    )
    names = source.view.projection.join_key_map
    columns = {names.get(key, key): rows.keys[key] for key in source.keys}
    times = pa.array(rows.event).cast(pa.timestamp("us", "UTC"))
    table = pa.table({**columns, EVENT_TIMESTAMP: times})
    return table.filter(pa.array(in_range)).drop_null()


def _tables_in(con: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    """The tables that a SELECT names, as DuckDB's own parser sees them."""
    parsed = json.loads(
        con.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()[0][0]
    )
    if parsed["error"] or len(parsed["statements"]) != 1:
        raise _query_error(
            query, parsed.get("error_message") or f"{len(parsed['statements'])} statements"
        )
    named, here, left = set(), set(), [parsed["statements"]]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                named.add(node["table_name"])
            here |= {entry["key"].lower() for entry in node.get("cte_map", {}).get("map", [])}
        left += node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return sorted(name for name in named if name.lower() not in here)


def _is_folder(name: str) -> bool:
    """Whether a name is that of a folder right below `root`."""
    return not (name in ("", ".", "..") or "/" in name or "\\" in name or urlsplit(name).scheme)


def _parsed_times(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_datetime64_any_dtype(column):
        present = column.dropna()
        kind = pd.api.types.infer_dtype(present.astype(object))
        if kind in NUMBERS:
            raise _not_times(kind)
    try:
        return pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise _not_times(str(error).splitlines()[0]) from error


def _not_times(found: str) -> TableError:
    return TableError(
        explain(
            f"entity_df, column {EVENT_TIMESTAMP}",
            expected="timestamps, or texts in ISO 8601",
            found=found,
            mend="convert numbers with pd.to_datetime(column, unit=..., utc=True)",
        )
    )


def _open_table(config: RepoConfig, name: str, pins: Pins | None) -> tuple[DeltaTable, Snapshot]:
    place = place_of(config, name)
    if pins is None:
        delta = open_table(place, f"entity_df, table {name}")
        return delta, Snapshot.of_delta(delta)
    pin = pins.entity_df.get(name)
    if pin is None:
        raise _no_pin_error(name, "none")
    delta, gone = reopen_at(place, pin, f"entity_df, table {name}")
    if gone:
        raise _no_pin_error(name, f"version {pin.version}, which is gone")
    return delta, pin


def _no_pin_error(name: str, found: str) -> TableError:
    return TableError(
        explain(
            f"entity_df, table {name}",
            expected="a pin whose version opens",
            found=found,
            mend="pass the spine as a DataFrame: the earlier result has its rows",
        )
    )


def _with_utc_time(table: pa.Table, tables: dict[str, Snapshot] | None = None) -> Spine:
    times = [f.name for f in table.schema if pa.types.is_timestamp(f.type)]
    name = EVENT_TIMESTAMP if EVENT_TIMESTAMP in times or len(times) != 1 else times[0]
    if name not in times:
        raise TableError(
            explain(
                "entity_df",
                expected=f"a time column, {EVENT_TIMESTAMP} or the only one of timestamps",
                found=str(table.schema.names),
                mend=f"call it {EVENT_TIMESTAMP}, as timestamps",
            )
        )
    column = table[name]
    utc = column.cast(pa.timestamp(column.type.unit, "UTC"))
    _check_finite(utc, name)
    return Spine(
        table.set_column(table.schema.get_field_index(name), name, utc), name, tables or {}
    )


def _check_unique_names(names: Sequence[str]) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise TableError(
            explain(
                "entity_df",
                expected="each column once",
                found=f"{', '.join(twice)} twice",
                mend="rename one of them",
            )
        )


def _check_finite(times: pa.ChunkedArray, name: str) -> None:
    """TableError for a time that is none: DuckDB's infinities are the two ends of the numbers."""
    least, most = pc.min_max(times.cast(pa.int64())).as_py().values()
    if least is not None and (least <= -INFINITY or most >= INFINITY):
        raise TableError(
            explain(
                f"entity_df, column {name}",
                expected="moments",
                found="infinity",
                mend="leave such rows out",
            )
        )


def _query_error(query: str, found: str) -> TableError:
    return TableError(
        explain(
            f"entity_df {query[:60]!r}",
            expected="one SELECT over Delta tables below `root`",
            found=found.strip(),
            mend="name tables by their folders below `root`; read anything else into a DataFrame",
        )
    )
