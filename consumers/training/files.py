"""Spines and joined rows as files, in bounded memory; written as a whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from vidtopics.errors import InputError, VidtopicsError, explain
from vidtopics.faults import naming
from vidtopics.paths import to_uri
from vidtopics.tables.pins import pins_of_commit

TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def write(rows: pa.RecordBatchReader, out: Path) -> int:
    """Write rows to a new Delta table, or to Parquet if `out` ends in `.parquet`; their number.

    They are written beside `out` under a private name, and get its name last: of two that write to
    one place, one is refused.

    Raises:
        InputError: `out` exists, or came into being meanwhile; a column that Delta has no type for.
    """
    refuse_existing(out)
    parquet = out.suffix == ".parquet"
    if not parquet:
        _refuse_foreign_types(rows.schema, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, counted = (
        out.with_name(f".{out.name}.{os.getpid()}-{secrets.token_hex(8)}"),
        Counted(rows),
    )
    try:
        with naming(out):
            (_write_parquet if parquet else _write_delta)(counted, rows.schema, partial)
            _publish(partial, out)
    finally:
        _remove(partial)
    return counted.rows


def refuse_existing(out: Path) -> None:
    """InputError where there is something: rows that were joined once are not written over."""
    if out.exists() or out.is_symlink():
        raise _path_exists_error(out)


class Counted:
    """Batches as they come, how many rows there were, and the error of ours that ended them."""

    def __init__(self, batches: pa.RecordBatchReader) -> None:
        self._batches = batches
        self.rows = 0
        self.error: VidtopicsError | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                self.rows += batch.num_rows
                yield batch
        except VidtopicsError as error:
            self.error = error
            raise


def _write_delta(batches: Counted, schema: pa.Schema, partial: Path) -> None:
    try:
        write_deltalake(
            to_uri(partial, "OUT"),
            pa.RecordBatchReader.from_batches(schema, batches),
            commit_properties=pins_of_commit(schema),
        )
    except BaseException as error:
        raise batches.error or error from None  # delta-rs makes a text of what its rows raise


def _write_parquet(batches: Counted, schema: pa.Schema, partial: Path) -> None:
    with open(partial, "xb") as file, pq.ParquetWriter(file, schema) as writer:
        for batch in _read_ahead(batches):
            writer.write_batch(batch)


def _read_ahead(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches; the next one is made while the caller works on one."""
    iterator = iter(batches)
    with ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(next, iterator, None)
        while (batch := upcoming.result()) is not None:
            upcoming = thread.submit(next, iterator, None)
            yield batch
            del batch  # or it would live until the next one is there


def _publish(partial: Path, out: Path) -> None:
    """Give the file or folder its final name; neither call replaces anything.

    A link needs a free name, and a folder is never renamed onto one that holds something.
    """
    try:
        if partial.is_dir():
            partial.rename(out)
        else:
            os.link(partial, out)
    except OSError as error:
        if error.errno in TAKEN:
            raise _path_exists_error(out) from error
        raise


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial)
    else:
        partial.unlink(missing_ok=True)


def _refuse_foreign_types(schema: pa.Schema, out: Path) -> None:
    wrong = [
        f"{field.name} ({field.type})" for field in schema if any(map(_foreign, _kinds(field.type)))
    ]
    if wrong:
        raise InputError(
            explain(
                f"{out}, a Delta table",
                expected="columns of types that Delta has",
                found=", ".join(wrong),
                mend="cast the spine's columns (Delta has no unsigned numbers), or name an OUT "
                "that ends in .parquet",
            )
        )


def _foreign(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(
        of.is_unsigned_integer(kind)
        or of.is_float16(kind)
        or of.is_duration(kind)
        or of.is_time(kind)
    )


def _kinds(kind: pa.DataType) -> Iterator[pa.DataType]:
    """A type and those that it is made of."""
    yield kind
    for i in range(kind.num_fields):
        yield from _kinds(kind.field(i).type)


def _path_exists_error(out: Path) -> InputError:
    return InputError(
        explain(
            str(out),
            expected="a new place",
            found="a file or folder",
            mend="name another, or remove it",
        )
    )
