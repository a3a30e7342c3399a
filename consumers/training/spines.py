"""Spines as files: Parquet, CSV and Delta, read in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from pyarrow import csv

from vidtopics import parquet_limits
from vidtopics.contracts import EVENT_TIME, Table
from vidtopics.errors import InputError, TableError, explain
from vidtopics.paths import to_uri
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import ARROW, TIMESTAMP

AHEAD = {"batch_readahead": 4, "fragment_readahead": 1}


def open_spine(path: Path, views: Sequence[Table]) -> pa.RecordBatchReader:
    """The rows of a Delta table, a CSV file, or a Parquet file or folder, in their order.

    In CSV the views' keys are read as their contracts say, other columns that end in `_id` as text
    (`007` stays), `event_timestamp` as microseconds, the rest as Arrow infers it from the first
    block. A folder's `name=value` folders are columns (Hive).

    Raises:
        InputError: there is nothing, or nothing of that kind; the folder's files have different
            columns. While it is read: a value that is not of its column's type.
        TableError: a key or the time is of another type.
    """
    try:
        rows = _dataset(path.absolute(), views)  # Arrow takes a relative `ab:c` for a URI
        check_types(rows.schema, views, where=f"spine {path}")
        batches = rows.scanner(**AHEAD).to_reader()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    return pa.RecordBatchReader.from_batches(rows.schema, _read(batches, path))


def _dataset(path: Path, views: Sequence[Table]) -> ds.Dataset:
    if path.is_dir():
        is_delta = (path / "_delta_log").is_dir()
        return scan(DeltaTable(to_uri(path, "spine"))) if is_delta else _folder(path)
    if path.suffix != ".csv" and path.is_file():
        parquet_limits.check_file(path, f"spine {path}")
    return ds.dataset(path, format=_csv(path, views) if path.suffix == ".csv" else "parquet")


def _folder(path: Path) -> ds.Dataset:
    """All files, with the columns that each of them has.

    Parts of the path that end in `_id` are text.
    """
    for file in path.rglob("*"):
        if file.is_file():
            parquet_limits.check_file(file, f"spine {file}")
    hive = ds.dataset(path, format="parquet", partitioning="hive")
    parts = [fragment.physical_schema.remove_metadata() for fragment in hive.get_fragments()]
    # Where no folder is named so, Arrow gives the files' columns here.
    named = [f for f in hive.partitioning.schema if parts and f.name not in parts[0].names]
    folders = pa.schema(
        [pa.field(f.name, pa.string()) if f.name.endswith("_id") else f for f in named]
    )
    for fragment, part in zip(hive.get_fragments(), parts, strict=True):
        other = set(part.names) ^ set(parts[0].names)
        if other:
            raise InputError(
                explain(
                    f"spine {path}, {fragment.path}",
                    expected="the columns that the other files have",
                    found=f"a difference in {', '.join(sorted(other))}",
                    mend="bring the files to one schema",
                )
            )
    schema = pa.unify_schemas([*parts, folders])
    return ds.dataset(
        path, schema=schema, format="parquet", partitioning=ds.partitioning(folders, flavor="hive")
    )


def _csv(path: Path, views: Sequence[Table]) -> ds.CsvFileFormat:
    inferred = ds.dataset(path, format="csv").schema
    if EVENT_TIME in inferred.names and _is_number(inferred.field(EVENT_TIME).type):
        check_types(inferred, [], where=f"spine {path}")
    kinds = {name: pa.string() for name in inferred.names if name.endswith("_id")}
    kinds |= {name: ARROW[view.column(name).type] for view in views for name in view.key}
    if EVENT_TIME in inferred.names:
        zone = getattr(inferred.field(EVENT_TIME).type, "tz", None)
        kinds[EVENT_TIME] = (
            TIMESTAMP if zone else pa.timestamp("us")
        )  # Arrow reads either with a zone or without
    return ds.CsvFileFormat(convert_options=csv.ConvertOptions(column_types=kinds))


def check_types(schema: pa.Schema, views: Sequence[Table], *, where: str) -> None:
    """TableError that names all columns, the time or a view's keys, that can't be joined.

    `where` says whose schema it is.
    """
    expected = {name: ARROW[view.column(name).type] for view in views for name in view.key} | {
        EVENT_TIME: TIMESTAMP
    }
    wrong = {
        name: (kind, schema.field(name).type)
        for name, kind in expected.items()
        if name in schema.names and not _of_kind(schema.field(name).type, kind)
    }
    if wrong:
        raise TableError(
            explain(
                f"{where}, column{'s' * (len(wrong) > 1)} {', '.join(wrong)}",
                expected=", ".join(str(kind) for kind, _ in wrong.values()),
                found=", ".join(str(column_type) for _, column_type in wrong.values()),
                mend="; ".join(dict.fromkeys(_cast(*types) for types in wrong.values())),
            )
        )


def _cast(kind: pa.DataType, column_type: pa.DataType) -> str:
    """How a column becomes one of the expected kind.

    >>> _cast(TIMESTAMP, pa.int64())
    "cast seconds since 1970 by pandas.to_datetime(column, unit='s', utc=True)"
    >>> _cast(pa.string(), pa.int64()), _cast(TIMESTAMP, pa.string())
    ('cast ids to text', 'cast the time to a timestamp')
    """
    if not pa.types.is_timestamp(kind):
        return "cast ids to text" if pa.types.is_string(kind) else "cast the column"
    if _is_number(column_type):
        return "cast seconds since 1970 by pandas.to_datetime(column, unit='s', utc=True)"
    return "cast the time to a timestamp"


def _is_number(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(column_type) or pa.types.is_floating(column_type))


def _of_kind(column_type: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a join takes it: any width and encoding of the kind; of a key also all nulls."""
    plain = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
    if pa.types.is_timestamp(kind):
        return bool(pa.types.is_timestamp(plain))
    text = (
        pa.types.is_string(plain)
        or pa.types.is_large_string(plain)
        or pa.types.is_string_view(plain)
    )
    integers = pa.types.is_integer(plain) and pa.types.is_integer(kind)
    return bool(pa.types.is_null(plain) or integers or (text and pa.types.is_string(kind)))


def _read(batches: pa.RecordBatchReader, path: Path) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error, batches.schema) from error


def _unreadable(path: Path, error: Exception, schema: pa.Schema | None = None) -> InputError:
    text = str(error).splitlines()[0]
    column = re.search(r"CSV column #(\d+)", text)
    where = f", column {schema.names[int(column[1])]}" if column and schema else ""
    return InputError(
        explain(
            f"spine {path}{where}",
            expected="Parquet, a .csv file or a Delta table, its values of its columns' types",
            found=text,
            mend="name a file of one of these kinds, or correct it; Parquet says what its columns "
            "are",
        )
    )
