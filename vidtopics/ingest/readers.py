"""CSV and Parquet files as Arrow batches of text with true row numbers.

Both give the same columns: `row` (the first after the header is 1), `reason` and `detail` (null
unless the row can't be read as text), then the asked-for columns as text, where empty means
missing.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

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
    _check_header(path.name, header, columns)
    unknown = [name for name in header if name and name not in columns.names]
    rows = pa.RecordBatchReader.from_batches(columns.schema, batches)
    return RowFile(file_hash, unknown, dialect, rows)


def _check_header(file_name: str, header: Sequence[str], columns: Columns) -> None:
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
                explain(file_name, expected=f"a column {name!r}", found=found, mend=mend)
            )
    for name in columns.names:
        if header.count(name) > 1:
            expected = f"one column {name!r}"
            raise InputError(
                explain(file_name, expected=expected, found="several", mend="leave one")
            )
