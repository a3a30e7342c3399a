"""Rows of a DataFrame into data files, written by executors; the driver commits them.

A task writes one file under a name of its own, and what it returns is what the driver commits, once
for each partition: files of tasks that died, or ran twice, are in no version, and a vacuum removes
them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, create_table_with_add_actions
from pyarrow.fs import FileSystem, PyFileSystem
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema

from vidtopics.errors import TableError, explain
from vidtopics.paths import from_uri
from vidtopics.tables.scans import local
from vidtopics.tables.tail import METADATA

FILES = "path string, size bigint, modified_ms bigint, statistics string"
GROUP_BYTES = 64 * 2**20
"""Rows of this size in memory become a row group."""
LONGEST_TEXT = 64
"""Characters of a least or greatest text that the log has."""


def write(rows: DataFrame, uri: str, schema: pa.Schema, names: Sequence[str]) -> list[AddAction]:
    """Write rows below a table's address; what a commit has to name.

    Args:
        rows: with the columns of `schema`.
        uri: of the table, as delta-rs takes it.
        schema: of the files.
        names: columns with statistics.
    """

    def write_task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        file = write_file(_file_system(uri), schema, names, batches)
        if file is not None:
            yield pa.RecordBatch.from_pylist([file])

    files = rows.mapInArrow(write_task, FILES).collect()
    return [
        AddAction(path, size, {}, modified_ms, True, statistics)
        for path, size, modified_ms, statistics in sorted(map(tuple, files))
    ]


def create(rows: DataFrame, uri: str, metadata: str) -> int:
    """Write rows as a new table, whose first commit has a text of ours; how many they are.

    Raises:
        TableError: there is a table already.
    """
    if DeltaTable.is_deltatable(uri):
        raise TableError(
            explain(uri, expected="no table yet", found="one", mend="name another place")
        )
    if uri.startswith("file:"):
        from_uri(uri).mkdir(parents=True, exist_ok=True)  # executors open files below it
    schema = to_arrow_schema(rows.schema, timezone="UTC")
    create_table_with_add_actions(
        uri,
        Schema.from_arrow(schema),
        write(rows, uri, schema, ()),
        commit_properties=CommitProperties(custom_metadata={METADATA: metadata}),
    )
    return DeltaTable(uri).count()


def write_file(
    filesystem: FileSystem,
    schema: pa.Schema,
    names: Sequence[str],
    batches: Iterator[pa.RecordBatch],
) -> dict[str, Any] | None:
    """Write a data file; its path, size, time and statistics, or None where there are no rows.

    Args:
        filesystem: rooted at the table.
        schema: of the file.
        names: columns with statistics.
        batches: rows, in the schema's columns.
    """
    groups = _groups(schema, batches)
    first = next(groups, None)
    if first is None:
        return None
    path, statistics = f"part-{uuid4()}.parquet", Statistics(tuple(names))
    with (
        filesystem.open_output_stream(path) as stream,
        pq.ParquetWriter(stream, schema) as writer,
    ):
        for group in (first, *groups):
            statistics.add(group)
            writer.write_table(group, row_group_size=max(len(group), 1))
    return {
        "path": path,
        "size": filesystem.get_file_info(path).size,
        "modified_ms": time.time_ns() // 1_000_000,
        "statistics": statistics.to_json(),
    }


def _groups(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in tables of about :data:`GROUP_BYTES`."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if batch.num_rows:
            waiting.append(batch.cast(schema))
            size += batch.nbytes
        if size >= GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


@dataclass
class Statistics:
    """Counts, nulls, least and greatest values of a data file, as a Delta log has them.

    >>> statistics = Statistics(("a",))
    >>> statistics.add(pa.table({"a": [3, None, 1]}))
    >>> statistics.add(pa.table({"a": [2]}))
    >>> statistics.to_json()
    '{"numRecords": 4, "minValues": {"a": 1}, "maxValues": {"a": 3}, "nullCount": {"a": 1}}'
    """

    names: tuple[str, ...]
    rows: int = 0
    least: dict[str, Any] = field(default_factory=dict)
    greatest: dict[str, Any] = field(default_factory=dict)
    nulls: dict[str, int] = field(default_factory=dict)

    def add(self, rows: pa.Table) -> None:
        """Count rows of the file."""
        self.rows += len(rows)
        for name in self.names:
            column = rows[name]
            self.nulls[name] = self.nulls.get(name, 0) + column.null_count
            # Of floats a NaN has no place in the order.
            if pa.types.is_floating(column.type) or pa.types.is_boolean(column.type):
                continue
            extremes = pc.min_max(column).as_py()
            if extremes["min"] is not None:
                self.least[name] = min(self.least.get(name, extremes["min"]), extremes["min"])
                self.greatest[name] = max(self.greatest.get(name, extremes["max"]), extremes["max"])

    def to_json(self) -> str:
        """The text of an entry's `stats`."""
        short = [n for n in self.least if not _is_long(self.least[n], self.greatest[n])]
        return json.dumps(
            {
                "numRecords": self.rows,
                "minValues": {name: _plain(self.least[name]) for name in short},
                "maxValues": {name: _plain(self.greatest[name]) for name in short},
                "nullCount": self.nulls,
            }
        )


def _is_long(*values: object) -> bool:
    return any(isinstance(value, str) and len(value) > LONGEST_TEXT for value in values)


def _plain(value: Any) -> Any:
    """A value in JSON: times in UTC."""
    return f"{value:%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(value, datetime) else value


def _file_system(uri: str) -> FileSystem:
    """The file system of a table, rooted at it; a store's credentials are this process's own."""
    return local(uri) or PyFileSystem(DeltaStorageHandler(uri))
