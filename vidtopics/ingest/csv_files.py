"""CSV files of any dialect that `dialects` tells, as batches of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from vidtopics.ingest.columns import Columns
from vidtopics.ingest.csv_records import MAX_RECORD_BYTES, Mask, Records, grammar, records
from vidtopics.ingest.dialects import HEAD_BYTES, Dialect, sniff
from vidtopics.ingest.utf8 import utf8_blocks

ROW_BYTES = 64  # of a row of a log in CSV, to turn rows into bytes to read
DETAILS = {
    "overlong_row": f"expected at most {MAX_RECORD_BYTES} bytes, found the row ",
    "malformed_row": "expected quotes that are closed before a {} or line end, found the row ",
    "field_count": "expected {} fields, found the row ",
    "not_utf8": "expected UTF-8 (save the file as CSV in UTF-8), found the row ",
}
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_DECIMAL_COMMA = r"^([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)$"


def open_file(
    path: Path, columns: Columns, batch_rows: int
) -> tuple[tuple[str, ...], str, Iterator[pa.RecordBatch]]:
    """Header, dialect in words (empty if plain), batches; InputError for a bad header."""
    with path.open("rb") as file:
        dialect = sniff(path.name, file.read(HEAD_BYTES), list(columns.names_in_file.values()))
    return dialect.header, str(dialect), _batches(path, dialect, columns, batch_rows)


def _batches(
    path: Path, dialect: Dialect, columns: Columns, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    width = len(dialect.header)
    record_grammar = grammar(dialect.separator, dialect.record_end)
    with path.open("rb") as file:
        body = _skip(utf8_blocks(file, batch_rows * ROW_BYTES), dialect.body_offset)
        for block in records(body, width, record_grammar):
            good = block.reason == None  # noqa: E711 - elementwise
            if good.any():
                text = block.text if good.all() else block.text.filter(pa.array(good))
                yield columns.batch(block.rows[good], _fields(text, dialect, columns))
            if not good.all():
                yield _refused(columns, block, ~good, dialect)


def _skip(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The blocks without their first `size` bytes."""
    for block in blocks:
        if len(block) > size:
            yield block[size:]
        size = max(0, size - len(block))


def _fields(text: pa.BinaryArray, dialect: Dialect, columns: Columns) -> dict[str, pa.Array]:
    """The fields of records that are known to be well-formed UTF-8 of the right width.

    In files separated by semicolons, numbers have a decimal comma or point.
    """
    joined = _bytes(text)
    positions = {name: first for name, (first, *_) in columns.places(dialect.header).items()}
    parsed = pa_csv.read_csv(
        pa.BufferReader(joined),
        pa_csv.ReadOptions(
            use_threads=False,
            column_names=[str(position) for position in range(len(dialect.header))],
            block_size=joined.size + 1,
        ),
        pa_csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True),
        pa_csv.ConvertOptions(
            column_types={str(position): pa.string() for position in positions.values()},
            include_columns=[str(position) for position in sorted(set(positions.values()))],
            null_values=[],
            check_utf8=False,
        ),
    )
    assert len(parsed) == len(text), "the CSV parser disagrees with the record grammar"
    fields = {name: parsed[str(i)].combine_chunks() for name, i in positions.items()}
    if dialect.separator == ";":
        for name in set(columns.numbers) & set(fields):
            fields[name] = pc.replace_substring_regex(fields[name], _DECIMAL_COMMA, r"\1.\2")
    return fields


def _bytes(text: pa.BinaryArray) -> pa.Buffer:
    """The texts as one buffer, without a copy: the values of neighbours are contiguous."""
    _, offsets, values = text.buffers()
    ends = np.frombuffer(offsets, np.int32)
    return values.slice(ends[0], ends[len(text)] - ends[0])


def _refused(columns: Columns, block: Records, bad: Mask, dialect: Dialect) -> pa.RecordBatch:
    heads = pc.binary_slice(block.text.filter(pa.array(bad)), 0, 80).to_pylist()
    reasons = [str(reason) for reason in block.reason[bad]]
    blanks = {"field_count": len(dialect.header), "malformed_row": _SEPARATORS[dialect.separator]}
    details = [
        DETAILS[reason].format(blanks.get(reason)) + repr(head.decode("utf-8", "replace"))
        for reason, head in zip(reasons, heads, strict=True)
    ]
    texts = {"reason": pa.array(reasons), "detail": pa.array(details)}
    return columns.batch(block.rows[bad], texts)
