"""Spines and joined rows as files: Parquet, CSV and Delta, in bounded memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from pyarrow import csv

from vidtopics.contracts import Table
from vidtopics.errors import InputError, VidtopicsError, explain
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import ARROW

AHEAD = {"batch_readahead": 4, "fragment_readahead": 1}


def open_spine(path: Path, views: Sequence[Table]) -> pa.RecordBatchReader:
    """The rows of a Delta table, a CSV file, or a Parquet file or folder, in the order that they lie in.

    A CSV file's keys are read as the views' contracts say (an id `007` stays text), its other columns as Arrow infers them.

    Raises:
        InputError: there is nothing, or nothing of that kind.
    """
    if path.is_dir() and DeltaTable.is_deltatable(str(path)):
        return scan(DeltaTable(str(path))).scanner(**AHEAD).to_reader()
    try:
        return ds.dataset(path, format=_format(path, views)).scanner(**AHEAD).to_reader()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(
            explain(f"spine {path}", expected="Parquet, a .csv file or a Delta table", found=str(error).splitlines()[0],
                    mend="name a file of one of these kinds")
        ) from error  # fmt: skip


def write(rows: pa.RecordBatchReader, out: Path) -> int:
    """Write rows to a new Delta table, or to a Parquet file where the name ends in `.parquet`; how many there were.

    What is there is whole: the table has one commit, the file gets its name last.

    Raises:
        InputError: `out` exists.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    counted = Counted(rows)
    if out.suffix == ".parquet":
        _write_parquet(counted, rows.schema, out)
    else:
        _write_delta(counted, rows.schema, out)
    return counted.rows


def refuse_existing(out: Path) -> None:
    """InputError where there is something: rows that were joined once are not written over."""
    if out.exists():
        raise InputError(
            explain(str(out), expected="a new place", found="a file or folder", mend="name another, or remove it")
        )


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


def _format(path: Path, views: Sequence[Table]) -> ds.FileFormat:
    if path.suffix != ".csv":
        return ds.ParquetFileFormat()
    keys = {name: ARROW[view.column(name).type] for view in views for name in view.key}
    return ds.CsvFileFormat(convert_options=csv.ConvertOptions(column_types=keys))


def _write_delta(batches: Counted, schema: pa.Schema, out: Path) -> None:
    try:
        write_deltalake(str(out), pa.RecordBatchReader.from_batches(schema, batches))
    except BaseException as error:
        shutil.rmtree(out, ignore_errors=True)
        raise batches.error or error from None  # delta-rs makes a text of what its rows raise


def _write_parquet(batches: Counted, schema: pa.Schema, out: Path) -> None:
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)
