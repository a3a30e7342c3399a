"""CSV and Parquet files as Arrow batches of text with true row numbers.

Both give the same columns: `row` (the first after the header is 1), `reason` and `detail` (null
unless the row can't be read as text), then the asked-for columns as text, where empty means
missing.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from vidtopics.errors import InputError, explain
from vidtopics.ingest.csv_records import MAX_RECORD_BYTES, Ints, Records, records
from vidtopics.ingest.utf8 import undecodable

ROW_BYTES = 64  # of a row of a log in CSV, to turn rows into bytes to read
DETAILS = {
    "overlong_row": f"expected at most {MAX_RECORD_BYTES} bytes, found the row ",
    "malformed_row": "expected quotes that are closed before a comma or line end, found the row ",
    "field_count": "expected {} fields, found the row ",
    "not_utf8": "expected UTF-8, found the row ",
}


@dataclass(frozen=True)
class Columns:
    """The columns of a file: a missing required one is an error, a missing optional one is empty."""

    required: Sequence[str]
    optional: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """All columns, required ones first."""
        return [*self.required, *self.optional]

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches that a reader gives."""
        texts = [(name, pa.string()) for name in ("reason", "detail", *self.names)]
        return pa.schema([("row", pa.int64()), *texts])


@dataclass(frozen=True)
class RowFile:
    """An opened file: its hash (sha256), the columns that the format doesn't know, and its rows."""

    file_hash: str
    unknown_columns: Sequence[str]
    rows: pa.RecordBatchReader


def open_rows(path: Path, columns: Columns, batch_rows: int) -> RowFile:
    """Opens a `.csv` or `.parquet` file; InputError if it has no readable header or lacks a required column."""
    with path.open("rb") as file:
        file_hash = hashlib.file_digest(file, "sha256").hexdigest()
    if path.suffix == ".csv":
        header = _csv_header(path)
        batches = _csv_batches(path, header, columns, batch_rows)
    else:
        header = _parquet_header(path, columns)
        batches = _parquet_batches(path, header, columns, batch_rows)
    _check_header(path, header, columns)
    unknown = [name for name in header if name not in columns.names]
    return RowFile(file_hash, unknown, pa.RecordBatchReader.from_batches(columns.schema, batches))


def _check_header(path: Path, header: Sequence[str], columns: Columns) -> None:
    for name in columns.required:
        if name not in header:
            near = difflib.get_close_matches(name, header, n=1)
            mend = (
                f"rename {near[0]!r} to {name!r}"
                if near
                else "add the column, its values may be empty where allowed"
            )
            found = f"missing_column, only {', '.join(header)[:500] or 'an empty header'}"
            raise InputError(
                explain(path.name, expected=f"a column {name!r}", found=found, mend=mend)
            )
    for name in columns.names:
        if header.count(name) > 1:
            raise InputError(
                explain(
                    path.name, expected=f"one column {name!r}", found="several", mend="leave one"
                )
            )


def _csv_header(path: Path) -> list[str]:
    with path.open("rb") as file:
        line = file.readline(MAX_RECORD_BYTES)
    try:
        return [name.strip() for name in next(csv.reader([line.decode("utf-8-sig")]), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            explain(
                path.name,
                expected="a header in UTF-8",
                found=str(error),
                mend="save the file as CSV in UTF-8",
            )
        ) from None


def _csv_batches(
    path: Path, header: list[str], columns: Columns, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        file.readline(MAX_RECORD_BYTES)
        for block in records(file, len(header), batch_rows * ROW_BYTES):
            good = block.reason == None  # noqa: E711 - elementwise
            if good.any():
                fields = _fields(block.text.filter(pa.array(good)), header, columns)
                yield _batch(columns, block.rows[good], fields)
            if not good.all():
                yield _refused(columns, block, ~good, len(header))


def _fields(text: pa.BinaryArray, header: list[str], columns: Columns) -> dict[str, pa.Array]:
    """The fields of records that are known to be well-formed UTF-8 of the right width."""
    joined = _bytes(text)
    found = pa_csv.read_csv(
        pa.BufferReader(joined),
        pa_csv.ReadOptions(use_threads=False, column_names=header, block_size=joined.size + 1),
        pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        pa_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            include_columns=[name for name in columns.names if name in header],
            null_values=[],
            check_utf8=False,
        ),
    )
    assert len(found) == len(text), "the CSV parser disagrees with the record grammar"
    return {name: found[name].combine_chunks() for name in found.column_names}


def _bytes(text: pa.BinaryArray) -> pa.Buffer:
    """The texts as one buffer, without a copy: a filtered array's values are contiguous."""
    _, offsets, values = text.buffers()
    ends = np.frombuffer(offsets, np.int32)
    return values.slice(ends[0], ends[len(text)] - ends[0])


def _refused(
    columns: Columns, block: Records, bad: np.ndarray[tuple[int], np.dtype[np.bool_]], fields: int
) -> pa.RecordBatch:
    heads = pc.binary_slice(block.text.filter(pa.array(bad)), 0, 80).to_pylist()
    reasons = [str(reason) for reason in block.reason[bad]]
    details = [
        DETAILS[reason].format(fields) + repr(head.decode("utf-8", "replace"))
        for reason, head in zip(reasons, heads, strict=True)
    ]
    return _batch(
        columns, block.rows[bad], {"reason": pa.array(reasons), "detail": pa.array(details)}
    )


def _parquet_header(path: Path, columns: Columns) -> list[str]:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            explain(
                path.name, expected="a Parquet file", found=str(error), mend="write the file again"
            )
        ) from None
    for field in schema:
        if field.name in columns.names and pa.types.is_nested(field.type):
            mend = "write several values as one text, separated by |"
            raise InputError(
                explain(
                    f"{path.name}, {field.name}",
                    expected="text, number or time",
                    found=str(field.type),
                    mend=mend,
                )
            )
    return list(schema.names)


def _parquet_batches(
    path: Path, header: list[str], columns: Columns, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    row = 1
    names = [name for name in columns.names if name in header]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_rows, columns=names):
            yield _parquet_batch({name: _as_text(batch[name]) for name in names}, columns, row)
            row += len(batch)


def _parquet_batch(texts: dict[str, pa.Array], columns: Columns, row: int) -> pa.RecordBatch:
    first = next(iter(texts.values()))
    size = np.zeros(len(first), np.int64)
    reason = np.full(len(first), None, object)
    detail = np.full(len(first), None, object)
    for name, text in texts.items():
        bad = undecodable(text)
        reason[bad], detail[bad] = "not_utf8", f"{name}: expected UTF-8"
        if bad.any():
            texts[name] = pc.if_else(pa.array(bad), b"", text)
        size += np.asarray(pc.binary_length(text))
    reason[size > MAX_RECORD_BYTES] = "overlong_row"
    detail[size > MAX_RECORD_BYTES] = f"expected at most {MAX_RECORD_BYTES} bytes"
    fields = {name: text.cast(pa.string()) for name, text in texts.items()}
    fields |= {"reason": pa.array(reason, pa.string()), "detail": pa.array(detail, pa.string())}
    return _batch(columns, np.arange(row, row + len(first)), fields)


def _as_text(column: pa.Array) -> pa.Array:
    """Any plain column as binary text: numbers in decimal, truth values 0 or 1, times in ISO 8601, null empty."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_timestamp(column.type) and column.type.tz:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    kind = column.type
    is_text = (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
    text = column if is_text else column.cast(pa.string())
    return text.cast(pa.binary()).fill_null(b"")


def _batch(columns: Columns, rows: Ints, fields: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch of the reader's schema; columns that `fields` lacks are empty, `reason` and `detail` null."""
    empty = {name: pa.repeat("", len(rows)) for name in columns.names if name not in fields}
    null = {
        name: pa.nulls(len(rows), pa.string())
        for name in ("reason", "detail")
        if name not in fields
    }
    return pa.RecordBatch.from_pydict(
        {"row": pa.array(rows), **null, **empty, **fields}, schema=columns.schema
    )
