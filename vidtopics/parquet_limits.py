"""What a Parquet file that nobody vouches for may ask of a reader, by its footer.

Arrow takes the memory that a file says it needs. A footer is read whole, a page is unpacked whole,
and a value of a dictionary is written out for each row that names it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vidtopics.errors import InputError, explain

MAX_FOOTER = 16 << 20
"""Bytes of a footer: 1,000 row groups of 100 columns take about 10 MB."""
MAX_COLUMNS = 10_000
MAX_UNPACKED, MAX_RATIO = 256 << 20, 200
"""Bytes of a column of a row group once unpacked, from which on it may not be that many times as
large as in the file: text is packed to a fifth, and rarely to a fiftieth."""
PIECE_ROWS = 1_024
"""Rows that are decoded at a time: a dictionary's value is written out for each of them."""
PIECE_BYTES = 64 << 20
_TAIL = 8
_MAGIC = b"PAR1"
_WRITE_AGAIN = "write it again, in row groups of fewer rows"


def check_file(path: Path, where: str, columns: Collection[str] | None = None) -> None:
    """Look at a file's footer before anything else of it is read; what is no Parquet file passes.

    Args:
        path: of a regular file.
        where: whose file it is, for messages.
        columns: those that will be read; None: all.

    Raises:
        InputError: it asks for more than the limits of this module.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        tail = file.read(_TAIL)
    if len(tail) < _TAIL or tail[4:] != _MAGIC:
        return  # whoever reads it says what it is
    footer = int.from_bytes(tail[:4], "little")
    if footer > MAX_FOOTER:
        found = f"one of {footer:,}"
        mend = "write it again, with fewer columns or row groups"
        raise InputError(
            explain(where, expected=f"a footer of {MAX_FOOTER:,} bytes", found=found, mend=mend)
        )
    try:
        _check_columns(pq.read_metadata(path), where, columns)
    except (pa.ArrowException, OSError):
        return


def _check_columns(metadata: pq.FileMetaData, where: str, columns: Collection[str] | None) -> None:
    check_width(metadata.num_columns, where)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            name = chunk.path_in_schema.partition(".")[0]
            if columns is not None and name not in columns:
                continue
            unpacked, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
            if unpacked > MAX_UNPACKED and unpacked > MAX_RATIO * packed:
                raise InputError(
                    explain(
                        f"{where}, {name[:80]}",
                        expected=f"{MAX_RATIO} times its size at most, once unpacked",
                        found=f"{unpacked:,} bytes out of {packed:,}",
                        mend=_WRITE_AGAIN,
                    )
                )


def check_width(columns: int, where: str) -> None:
    """InputError for more columns than :data:`MAX_COLUMNS`."""
    if columns > MAX_COLUMNS:
        raise InputError(
            explain(
                where,
                expected=f"{MAX_COLUMNS:,} columns at most",
                found=f"{columns:,}",
                mend="leave out those that nobody reads",
            )
        )


def batches(
    file: pq.ParquetFile, rows: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The file's rows without dictionaries, decoded in small pieces.

    A batch has `rows` rows, or fewer where these take :data:`PIECE_BYTES`.

    >>> sink = pa.BufferOutputStream()
    >>> pq.write_table(pa.table({"n": range(3_000)}), sink)
    >>> [len(b) for b in batches(pq.ParquetFile(sink.getvalue()), 2_500)]
    [2048, 952]
    """
    pieces: list[pa.RecordBatch] = []
    held = size = 0
    for piece in map(_plain, file.iter_batches(min(rows, PIECE_ROWS), columns=columns)):
        if pieces and (held + len(piece) > rows or size + piece.nbytes > PIECE_BYTES):
            yield pa.concat_batches(pieces)
            pieces, held, size = [], 0, 0
        pieces.append(piece)
        held, size = held + len(piece), size + piece.nbytes
    if pieces:
        yield pa.concat_batches(pieces)


def _plain(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with the values of dictionaries written out."""
    columns = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in rows]
    return pa.record_batch(columns, rows.schema.names)
