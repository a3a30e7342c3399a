"""Rows to bytes and back, a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidtopics.errors import ContractError, explain
from vidtopics.layout.schema import END, HEADER, LAYOUT, NUMBERS, TOMBSTONE, Field, Schema

OBJECTS = {"bytes", "list"}
Column = NDArray[np.generic] | Sequence[object]


def encode(
    schema: Schema,
    columns: Mapping[str, Column],
    *,
    fingerprints: NDArray[np.uint32],
    event_us: ArrayLike,
    created_us: ArrayLike,
    null: Mapping[str, NDArray[np.bool_]] | None = None,
    ids: Sequence[bytes] = (),
) -> list[bytes]:
    r"""Values of N rows.

    Args:
        schema: the view's fields.
        columns: per field a scalar[N], slots [N, width], vector [N, any], or N strings, bytes or
            number arrays.
        fingerprints: uint32[N] of :meth:`KeySpace.fingerprints`.
        event_us: int64[N], microseconds.
        created_us: int64[N], microseconds.
        null: per field bool[N], true where it has no value.
        ids: N ids, for messages.

    Raises:
        ContractError: a number doesn't fit the type that is stored, slots are not [N, width], or a
            vector is of another width.

    >>> from vidtopics.layout.schema import EXAMPLE
    >>> columns, fingerprints = {"n": [300], "s": ["two"]}, np.array([9], np.uint32)
    >>> (value,) = encode(
    ...     EXAMPLE, columns, fingerprints=fingerprints, event_us=[5], created_us=[6]
    ... )
    >>> value[:1], len(value), value[-3:]  # 29 header, 1 null bits, 2 for n, 4 + 3 for s
    (b'\x02', 39, b'two')
    >>> decoded = decode(EXAMPLE, [value])
    >>> decoded.columns["n"], decoded.columns["s"]
    (array([300]), array(['two'], dtype=object))
    """
    rows = np.zeros(len(fingerprints), schema.row)
    header = rows["header"]
    header["mark"], header["schema"], header["fingerprint"] = LAYOUT, schema.hash, fingerprints
    header["event_us"], header["created_us"] = event_us, created_us
    null = null or {}
    bits = np.zeros((len(rows), len(schema.fields)), bool)
    tails: list[list[bytes]] = (
        [[] for _ in range(len(rows))] if any(f.variable for f in schema.fields) else []
    )
    for i, field in enumerate(schema.fields):
        bits[:, i] = null.get(field.name, False)
        if field.variable:
            _put_variable(rows[f"f{i}"], tails, field, columns[field.name], bits[:, i])
        else:
            column = columns[field.name]
            if field.kind == "vector":
                array = _stacked(field, column, bits[:, i], ids)
            else:
                array = _shaped(field, column, len(rows))
            rows[f"f{i}"] = _narrow(field, array, bits[:, i])
    rows["nulls"] = np.packbits(bits, axis=1, bitorder="little")
    raw, size = rows.tobytes(), schema.row.itemsize
    fixed = [raw[i * size : (i + 1) * size] for i in range(len(rows))]
    return [a + b"".join(b) for a, b in zip(fixed, tails, strict=True)] if tails else fixed


def tombstones(
    schema: Schema, fingerprints: NDArray[np.uint32], event_us: ArrayLike, created_us: ArrayLike
) -> list[bytes]:
    """Values that ended: headers alone, whose times keep an older row from coming back."""
    heads = np.zeros(len(fingerprints), HEADER)
    heads["mark"], heads["schema"] = LAYOUT | TOMBSTONE, schema.hash
    heads["fingerprint"], heads["event_us"], heads["created_us"] = (
        fingerprints,
        event_us,
        created_us,
    )
    return [head.tobytes() for head in heads]


def headers(values: Sequence[bytes]) -> NDArray[np.void]:
    """The headers of values that are at least that long."""
    size = HEADER.itemsize
    return np.frombuffer(b"".join([v[:size] for v in values]), HEADER)


@dataclass(frozen=True)
class Decoded:
    """Rows of one schema: per field its values, and bool[N] where it is null.

    `readable` is false where the bytes don't fit.

    A vector field whose width the schema doesn't know has that of the row known last; rows of
    another width aren't readable. It has width 0 where no row has a vector.
    """

    columns: Mapping[str, NDArray[np.generic]]
    null: Mapping[str, NDArray[np.bool_]]
    readable: NDArray[np.bool_]


def decode(schema: Schema, values: Sequence[bytes], names: Iterable[str] | None = None) -> Decoded:
    """Fields (all, or `names`) of values with this schema's hash that are no tombstones."""
    size, variable = (
        schema.row.itemsize,
        [f"f{i}" for i, f in enumerate(schema.fields) if f.variable],
    )
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    fixed = values if (lengths == size).all() else [v[:size].ljust(size, b"\0") for v in values]
    rows = np.frombuffer(b"".join(fixed), schema.row)
    readable = lengths == size + (rows[variable[-1]].astype(np.int64) if variable else 0)
    bits = np.unpackbits(rows["nulls"], axis=1, count=len(schema.fields), bitorder="little").view(
        np.bool_
    )
    null = {f.name: bits[:, i] for i, f in enumerate(schema.fields)}
    columns: dict[str, NDArray[np.generic]] = {}
    ends = [np.zeros(len(rows), END), *(rows[name] for name in variable)]
    for begin, end in pairwise(ends):
        readable &= begin <= end
    begins = ends[0]
    for i, field in enumerate(schema.fields):
        column = rows[f"f{i}"]
        selected = names is None or field.name in names
        if field.variable:
            if selected:
                spans = zip(values, (begins + size).tolist(), (column + size).tolist(), strict=True)
                chunks = [v[a:b] for v, a, b in spans]
                columns[field.name] = _take(
                    field, chunks, rows["header"]["created_us"], readable, null[field.name]
                )
            begins = column
        elif selected:
            columns[field.name] = column.astype(NUMBERS[field.type])
    pads: dict[str, Any] = {f.name: None if f.kind in OBJECTS else f.pad for f in schema.fields}
    for (
        name,
        column,
    ) in columns.items():  # last, as a vector of another width makes its whole row unreadable
        column[~readable | null[name]] = pads[name]
    return Decoded(columns, null, readable)


def _shaped(field: Field, column: Column, rows: int) -> NDArray[np.generic]:
    """The column as an array; ContractError where numpy would stretch or refuse it."""
    shape = (rows, field.width) if field.kind == "slots" else (rows,)
    try:
        array = np.asarray(column)
        actual = str(array.shape)
    except ValueError:
        actual = "rows of several widths"
    if actual != str(shape):
        raise ContractError(
            explain(
                field.name,
                expected=f"the shape {shape}",
                found=actual,
                mend="give every row its value",
            )
        )
    return array


def _stacked(
    field: Field, column: Column, missing: NDArray[np.bool_], ids: Sequence[bytes]
) -> NDArray[np.generic]:
    """Vectors [N, width], padding where one is missing; ContractError names one of another width.

    A reader takes the width from the schema: a single row of another one would be unreadable, and
    rows of two widths mean that the table was made anew.
    """
    stacked = np.full((len(missing), field.width), field.pad, NUMBERS[field.type])
    for row, vector in enumerate(cast("Sequence[Sequence[float] | None]", column)):
        if vector is None:
            missing[row] = True
        if missing[row] or vector is None:
            continue
        if len(vector) != field.width:
            name = f" (id {ids[row].decode(errors='replace')})" if ids else ""
            raise ContractError(
                explain(
                    f"{field.name}, row {row}{name}",
                    expected=f"a vector of {field.width} numbers, as the view's others",
                    found=f"one of {len(vector)}",
                    mend="correct the row; where the width changed, write all rows by it",
                )
            )
        stacked[row] = vector
    return stacked


def _narrow(
    field: Field, column: NDArray[np.generic], missing: NDArray[np.bool_], first: int = 0
) -> NDArray[np.generic]:
    """Rows from number `first` on in the stored type; ContractError where a number is lost."""
    wide = column
    if missing.any():
        # not numpy's `where`, which takes integers and a padding of 0.0 for floats and rounds them
        wide = column.copy()
        wide[missing] = field.pad
    with np.errstate(over="ignore", invalid="ignore"):
        stored = wide.astype(NUMBERS[field.wire])
        lost = (
            np.isinf(stored) & ~np.isinf(wide)
            if field.wire.startswith("float")
            else np.not_equal(stored, wide)
        )
    if np.any(lost):
        at = tuple(np.argwhere(lost)[0].tolist())
        raise ContractError(
            explain(
                f"{field.name}, row {first + at[0]}",
                expected=f"numbers that fit {field.wire}",
                found=str(wide[at]),
                mend="widen `wire` of the column in its contract",
            )
        )
    return stored


def _put_variable(
    ends: NDArray[np.generic],
    tails: list[list[bytes]],
    field: Field,
    column: Column,
    missing: NDArray[np.bool_],
) -> None:
    for i, (tail, value) in enumerate(zip(tails, column, strict=True)):
        missing[i] |= value is None
        tail.append(b"" if missing[i] else _to_bytes(field, value, i))
        ends[i] = sum(map(len, tail))


def _to_bytes(field: Field, value: object, row: int) -> bytes:
    if field.kind == "bytes":
        data: Any = value.encode() if isinstance(value, str) else value
        return bytes(data)
    if field.type in NUMBERS:
        return _narrow(field, np.asarray(value)[None], np.zeros(1, bool), row).tobytes()
    items = [i.encode() if isinstance(i, str) else i for i in value]  # type: ignore[attr-defined]
    ends = np.cumsum([0, *map(len, items)])[1:]
    return np.array([len(items), *ends], END).tobytes() + b"".join(items)


def _take(
    field: Field,
    chunks: list[bytes],
    created_us: NDArray[np.int64],
    readable: NDArray[np.bool_],
    missing: NDArray[np.bool_],
) -> NDArray[np.generic]:
    if field.kind == "vector":
        return _vectors(field, chunks, created_us, readable, missing)
    out = np.full(len(chunks), None, object)
    for i, chunk in enumerate(chunks):
        if readable[i] and not missing[i]:
            try:
                out[i] = _from_bytes(field, chunk)
            except ValueError:  # no UTF-8, or items that end elsewhere
                readable[i] = False
    return out


def _vectors(
    field: Field,
    chunks: list[bytes],
    created_us: NDArray[np.int64],
    readable: NDArray[np.bool_],
    missing: NDArray[np.bool_],
) -> NDArray[np.generic]:
    """[N, width], of the width of the row known last; rows of another are marked unreadable."""
    lengths = np.array([len(c) for c in chunks])
    readable &= missing | (lengths % np.dtype(NUMBERS[field.wire]).itemsize == 0)
    exists = readable & ~missing
    if not exists.any():
        return field.empty(len(chunks))
    length = int(lengths[np.flatnonzero(exists)[np.argmax(created_us[exists])]])
    readable &= ~exists | (lengths == length)
    good = readable & ~missing
    whole = b"".join([c if ok else bytes(length) for c, ok in zip(chunks, good, strict=True)])
    return (
        np.frombuffer(whole, NUMBERS[field.wire])
        .reshape(len(chunks), -1)
        .astype(NUMBERS[field.type])
    )


def _from_bytes(field: Field, chunk: bytes) -> object:
    if field.kind == "bytes":
        return chunk.decode() if field.type == "string" else chunk
    if field.type in NUMBERS:
        return np.frombuffer(chunk, NUMBERS[field.wire]).astype(NUMBERS[field.type])
    count = int(np.frombuffer(chunk, END, 1)[0])
    ends = [0, *np.frombuffer(chunk, END, count, END.itemsize).tolist()]
    body = chunk[END.itemsize * (count + 1) :]
    if ends != sorted(ends) or ends[-1] != len(body):
        raise ValueError
    parts = [body[a:b] for a, b in pairwise(ends)]
    return [p.decode() for p in parts] if field.type == "string" else parts
