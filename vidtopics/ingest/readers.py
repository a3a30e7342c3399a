"""CSV and Parquet files as Arrow batches of text with true row numbers.

Both give the same columns: `row` (the first after the header is 1), `reason` and `detail` (null
unless the row can't be read as text), then the asked-for columns as text, where empty means
missing.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from vidtopics import parquet_limits
from vidtopics.errors import InputError, explain
from vidtopics.ingest import csv_files, parquet_files
from vidtopics.ingest.columns import Columns

__all__ = ["Columns", "RowFile", "open_rows"]


@dataclass(frozen=True)
class RowFile:
    """An opened file.

    * `file_hash`: sha256 of its bytes.
    * `unknown_columns`: those that the format doesn't know.
    * `dialect`: how a CSV file is written; empty for plain CSV and for Parquet.
    * `rows`: batches of `Columns.schema`.
    """

    file_hash: str
    unknown_columns: Sequence[str]
    dialect: str
    rows: pa.RecordBatchReader


def open_rows(path: Path, columns: Columns, batch_rows: int) -> RowFile:
    """Opens a `.csv` or `.parquet` file; InputError if it can't be read or lacks a column."""
    try:
        with path.open("rb") as file:
            file_hash = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        mend = "allow reading it, or deliver it again"
        raise InputError(
            explain(path.name, expected="a file to read", found=str(error.strerror), mend=mend)
        ) from None
    module = csv_files if path.suffix.lower() == ".csv" else parquet_files
    header, dialect, batches = module.open_file(path, columns, batch_rows)
    parquet_limits.check_width(len(header), path.name)
    places = columns.places(header)
    _check_header(path.name, header, places, columns)
    read = {index for indices in places.values() for index in indices}
    unknown = [name for index, name in enumerate(header) if name and index not in read]
    rows = pa.RecordBatchReader.from_batches(columns.schema, batches)
    return RowFile(file_hash, unknown, dialect, rows)


def _check_header(
    file_name: str,
    header: Sequence[str],
    places: Mapping[str, Sequence[int]],
    columns: Columns,
) -> None:
    """InputError where a column is missing that is required or mapped, or stands there twice."""
    for name, theirs in columns.names_in_file.items():
        needed = name in columns.required or name in columns.delivered
        if needed and name not in places:
            raise InputError(_missing(file_name, header, name, columns))
        if len(places.get(name, ())) > 1:
            expected = f"one column {theirs!r}"
            raise InputError(
                explain(file_name, expected=expected, found="several", mend="leave one")
            )


def _missing(file_name: str, header: Sequence[str], name: str, columns: Columns) -> str:
    theirs = columns.names_in_file[name]
    near = difflib.get_close_matches(theirs, header, n=1)
    found = f"missing_column, only {', '.join(header)[:500] or 'an empty header'}"
    if name in columns.delivered:
        better = repr(near[0]) if near else "the name that it has"
        mend = (
            f"write {better} for {name} into the file of --map, or null if there is no such column"
        )
        return explain(
            file_name, expected=f"a column {theirs!r}, as {name}", found=found, mend=mend
        )
    mend = (
        f"rename {near[0]!r} to {theirs!r}, or say so by --map"
        if near
        else "add the column, its values may be empty where allowed; or name another by --map"
    )
    return explain(file_name, expected=f"a column {theirs!r}", found=found, mend=mend)
