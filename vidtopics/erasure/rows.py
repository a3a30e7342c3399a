"""Parquet files without the rows of some people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.erasure.ids import Ids
from vidtopics.files import sync

BATCH = 65_536
TEXTS = ("event", "detail")
"""Columns of refused rows and events: what was delivered, and what was wrong with it."""
Chosen = Callable[[pa.RecordBatch], NDArray[np.bool_]]


@dataclass(frozen=True)
class Rewritten:
    """What is left of a file.

    Attributes:
        path: the new file.
        removed: rows that went.
        rows: rows that are left.
        nulls: of each column without children how many of them are null.
    """

    path: Path
    removed: int
    rows: int
    nulls: dict[str, int]


def persons_rows(ids: Ids, schema: pa.Schema) -> tuple[list[str], Chosen] | None:
    """The columns that tell whose a row is, and how; None where the schema has no such column."""
    users = [name for name in schema.names if name in ids.columns]
    if users:
        return users, lambda batch: _any([_is_in(batch[name], ids) for name in users])
    texts = [n for n in TEXTS if n in schema.names and pa.types.is_string(schema.field(n).type)]
    if texts and ("event" in texts or "reason" in schema.names):
        return texts, lambda batch: _any([_mentions(batch[name], ids) for name in texts])
    return None


def count_rows(path: Path, ids: Ids) -> int:
    """How many rows of a file are the people's; only the columns that tell are read."""
    with pq.ParquetFile(path) as file:
        judge = persons_rows(ids, file.schema_arrow)
        if judge is None:
            return 0
        columns, chosen = judge
        return sum(int(chosen(batch).sum()) for batch in file.iter_batches(BATCH, columns=columns))


def write_without(path: Path, target: Path, ids: Ids) -> Rewritten:
    """Write the file's other rows to `target`, in one step and with the file's own time.

    Compression, the schema and its metadata stay as they are.
    """
    partial = target.with_name(f".{target.name}.part")
    removed = rows = 0
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        judge = persons_rows(ids, schema)
        assert judge is not None
        nulls = dict.fromkeys((f.name for f in schema if not f.type.num_fields), 0)
        compression = _compression(file)
        with pq.ParquetWriter(partial, schema, compression=compression) as writer:
            for batch in _batches(file):
                chosen = judge[1](batch)
                removed += int(chosen.sum())
                kept = batch.filter(pa.array(~chosen))
                if kept.num_rows:
                    writer.write_batch(kept, row_group_size=file.metadata.num_rows)
                rows += kept.num_rows
                for name in nulls:
                    nulls[name] += kept[name].null_count
    place(partial, target, like=path)
    return Rewritten(target, removed, rows, nulls)


def place(partial: Path, target: Path, *, like: Path) -> None:
    """Give a written file its name, with another's times and rights, once it is on disk."""
    status = like.stat()
    os.utime(partial, ns=(status.st_atime_ns, status.st_mtime_ns))
    partial.chmod(status.st_mode & 0o7777)
    sync(partial)
    partial.replace(target)
    sync(target.parent)


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    for group in range(file.num_row_groups):
        yield from file.iter_batches(BATCH, row_groups=[group])


def _compression(file: pq.ParquetFile) -> str:
    if not file.num_row_groups or not file.metadata.num_columns:
        return "snappy"
    name = file.metadata.row_group(0).column(0).compression.lower()
    return "none" if name == "uncompressed" else str(name)


def _is_in(column: pa.Array, ids: Ids) -> NDArray[np.bool_]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.string())
    value_set = ids.array.cast(column.type)
    is_in: NDArray[np.bool_] = pc.is_in(column, value_set).to_numpy(zero_copy_only=False)
    return is_in


def _mentions(column: pa.Array, ids: Ids) -> NDArray[np.bool_]:
    texts = (text.encode() if text else b"" for text in column.to_pylist())
    return np.fromiter((ids.named_in_line(text) for text in texts), np.bool_, len(column))


def _any(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = np.logical_or.reduce(masks)
    return result
