"""Checks of rows against their contract, and the hash that tells whether a value changed.

Both engines run these same two functions, Spark inside `mapInArrow`, so a row is judged and hashed
alike wherever it was computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import Column, Table
from vidtopics.errors import ContractError, explain

TOMBSTONE = 0
DECIMALS = 6  # floats are compared after rounding: a retrained but equal value is no change
NORM_TOLERANCE = 1e-3


def value_hash(table: Table, rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """A 64-bit hash per row of the columns whose change makes a new row; 0 marks a tombstone.

    Floats count to 6 decimals. int64[rows], never 0.

    >>> from vidtopics.contracts import TAG_COOCCURRENCE
    >>> rows = pa.RecordBatch.from_pydict(
    ...     {"videos": [1, 1, 2], "probability": [0.1, 0.1 + 1e-9, 0.1]})
    >>> a, b, c = value_hash(TAG_COOCCURRENCE, rows)
    >>> bool(a == b), bool(a == c)
    (True, False)
    """
    columns = [_row_bytes(column, rows.column(column.name)) for column in table.hashed]
    digests = [
        blake2b(b"".join(parts), digest_size=8).digest() for parts in zip(*columns, strict=True)
    ]
    hashes = np.frombuffer(b"".join(digests), "<i8").astype(np.int64)
    hashes[hashes == TOMBSTONE] = 1
    return hashes


def _row_bytes(column: Column, array: pa.Array) -> list[bytes]:
    """What a column adds to each row's hash: its length in 4 bytes, and what says its value."""
    if column.type in ("list<float32>", "list<int64>"):
        return [_with_length(part) for part in _list_bytes(array)]
    if column.type == "list<string>":
        return [_with_length(part) for part in _text_list_bytes(array)]
    if column.type in ("float32", "float64"):
        array = pa.array(_rounded(array.to_numpy(zero_copy_only=False)), mask=_nulls(array))
    plain = array.cast(pa.int64()) if column.type == "timestamp" else array
    return _text_bytes(plain)


def _text_bytes(array: pa.Array) -> list[bytes]:
    """The text of each value as Python writes it; of a value that comes again it is made once."""
    if pa.types.is_nested(array.type):
        return [_with_length(repr(value).encode()) for value in array.to_pylist()]
    encoded = array.dictionary_encode(null_encoding="encode")
    texts = [_with_length(repr(value).encode()) for value in encoded.dictionary.to_pylist()]
    return [texts[i] for i in encoded.indices.to_numpy().tolist()]


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(4, "little") + part


def _list_bytes(array: pa.Array) -> list[bytes]:
    flat = array.flatten().to_numpy(zero_copy_only=False)
    if np.issubdtype(flat.dtype, np.floating):
        flat = _rounded(flat)
    size, data = flat.itemsize, flat.tobytes()
    lengths = (
        pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    ends = np.cumsum(lengths) * size
    return [
        data[end - n * size : end] for end, n in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def _text_list_bytes(array: pa.Array) -> list[bytes]:
    """Lengths and texts of each list as they lie in memory, without a Python object per text.

    >>> a, b, c = _text_list_bytes(pa.array([["ab", "c"], ["a", "bc"], ["ab", "c"]]))
    >>> a == b, a == c
    (False, True)
    """
    texts = array.flatten().cast(pa.binary())
    _, starts, content = texts.buffers()
    if not len(texts):
        return [b""] * len(array)
    offsets = np.frombuffer(starts, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths, content_bytes = np.diff(offsets).tobytes(), memoryview(content or b"")
    counts = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(counts, dtype=np.int64)
    return [
        lengths[4 * start : 4 * end] + content_bytes[offsets[start] : offsets[end]].tobytes()
        for start, end in zip((ends - counts).tolist(), ends.tolist(), strict=True)
    ]


def _rounded(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.round(values, DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


def _nulls(array: pa.Array) -> npt.NDArray[np.bool_]:
    nulls: npt.NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return nulls


def violations(table: Table, rows: pa.RecordBatch, widths: Mapping[str, int]) -> list[str | None]:
    """Each row's first violation of the contract, or None: nulls, widths, finite, unit length.

    `widths` resolves the named widths of vector columns. A row with several faults gives the first.
    """
    messages: list[str | None] = [None] * rows.num_rows
    for column in table.columns:
        array = rows.column(column.name)
        for message, bad in _faults(table, column, array, rows, widths):
            for i in np.flatnonzero(bad):
                messages[i] = (
                    messages[i]
                    or f"{column.name}: {message}, found {_short(array[int(i)].as_py())}"
                )
    return messages


def _faults(
    table: Table, column: Column, array: pa.Array, rows: pa.RecordBatch, widths: Mapping[str, int]
) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    nulls = _nulls(array)
    faults = [] if column.optional else [("expected a value", nulls)]
    if column.type in ("float32", "float64"):
        numbers = array.to_numpy(zero_copy_only=False).astype(np.float64)
        faults.append(
            ("expected a finite number", ~nulls & ~np.isfinite(np.where(nulls, 0, numbers)))
        )
    if column.width is not None:
        width = _width(table, column.width, widths)
        lengths = pc.fill_null(pc.list_value_length(array), width).to_numpy(zero_copy_only=False)
        wrong = lengths != width
        faults.append((f"expected {width} entries", wrong))
        if not wrong.any() and not nulls.any():
            faults += _vector_faults(table, column, array, rows, width)
    return faults


def _width(table: Table, width: int | str, widths: Mapping[str, int]) -> int:
    if isinstance(width, int):
        return width
    if width not in widths:
        raise ContractError(
            explain(
                table.name,
                expected=f"a number for {width}",
                found=str(dict(widths)),
                mend=f"publish(..., widths={{{width!r}: ...}})",
            )
        )
    return widths[width]


def _vector_faults(
    table: Table, column: Column, array: pa.Array, rows: pa.RecordBatch, width: int
) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    flat = array.flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(rows.num_rows, width)
    faults = [("expected finite numbers", ~np.isfinite(vectors).all(axis=1))]
    if column.name in table.unit_norm:
        flag = table.unit_norm[column.name]
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        empty = (
            np.zeros(len(norms), bool)
            if flag is None
            else rows.column(flag).to_numpy(zero_copy_only=False) == 0
        )
        expected = np.where(empty, 0.0, 1.0)
        expected_length = "length 1" if flag is None else f"length 1 (0 where {flag} is 0)"
        faults.append(
            (f"expected {expected_length}", ~(np.abs(norms - expected) <= NORM_TOLERANCE))
        )
    return faults


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
