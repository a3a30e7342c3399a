"""Parquet files with columns of any plain type, as batches of text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vidtopics import parquet_limits
from vidtopics.errors import InputError, explain
from vidtopics.ingest.columns import Columns
from vidtopics.ingest.csv_records import MAX_RECORD_BYTES
from vidtopics.ingest.dialects import bare_names
from vidtopics.ingest.signatures import content_kind
from vidtopics.ingest.text_columns import as_text, inexact_ids, inexact_ids_detail
from vidtopics.ingest.utf8 import undecodable


def open_file(
    path: Path, columns: Columns, batch_rows: int
) -> tuple[tuple[str, ...], str, Iterator[pa.RecordBatch]]:
    """Header, no dialect (empty) and batches; InputError if it isn't Parquet of plain columns."""
    parquet_limits.check_file(path, path.name)
    schema = _schema(path)
    header = tuple(bare_names(schema.names))
    places = columns.places(header)
    for index in sorted(i for indices in places.values() for i in indices):
        _check_type(path.name, schema.field(index))
    stored = {name: schema.names[first] for name, (first, *_) in places.items()}
    return header, "", _batches(path, stored, columns, batch_rows)


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        with path.open("rb") as file:
            kind = content_kind(file.read(80))
        is_parquet = kind and kind.name == "a Parquet file"
        found = kind.name if kind and not is_parquet else " ".join(str(error).split())
        mend = kind.mend if kind and not is_parquet else "write the file again"
        raise InputError(
            explain(path.name, expected="a Parquet file", found=found, mend=mend)
        ) from None


def _check_type(file_name: str, field: pa.Field) -> None:
    """InputError for a column whose values have no text."""
    where = f"{file_name}, {field.name}"
    mend = "write the column as text, several values separated by |"
    try:
        if pa.types.is_nested(field.type):
            raise pa.ArrowNotImplementedError
        as_text(pa.nulls(0, field.type))
    except pa.ArrowException:
        raise InputError(
            explain(where, expected="text, number or time", found=str(field.type), mend=mend)
        ) from None


def _batches(
    path: Path, stored: dict[str, str], columns: Columns, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    row = 1
    wanted = list(dict.fromkeys(stored.values()))
    with pq.ParquetFile(path) as file:
        for batch in parquet_limits.batches(file, batch_rows, wanted):
            yield _batch({ours: batch[theirs] for ours, theirs in stored.items()}, columns, row)
            row += len(batch)


def _batch(values: dict[str, pa.Array], columns: Columns, row: int) -> pa.RecordBatch:
    row_count = len(next(iter(values.values())))
    size = np.zeros(row_count, np.int64)
    reason = np.full(row_count, None, object)
    detail = np.full(row_count, None, object)
    texts = {}
    for name, column in values.items():
        text = as_text(column, nan_is_missing=name not in columns.measures)
        if name in columns.ids and (inexact := inexact_ids(column)).any():
            reason[inexact] = "inexact_id"
            detail[inexact] = inexact_ids_detail(name, column.filter(pa.array(inexact)))
        bad = undecodable(text)
        reason[bad], detail[bad] = "not_utf8", f"{name}: expected UTF-8"
        texts[name] = pc.if_else(pa.array(bad), b"", text) if bad.any() else text
        size += np.asarray(pc.binary_length(text))
    reason[size > MAX_RECORD_BYTES] = "overlong_row"
    detail[size > MAX_RECORD_BYTES] = f"expected at most {MAX_RECORD_BYTES} bytes"
    fields = {name: text.cast(pa.string()) for name, text in texts.items()}
    fields |= {"reason": pa.array(reason, pa.string()), "detail": pa.array(detail, pa.string())}
    return columns.batch(np.arange(row, row + row_count), fields)
