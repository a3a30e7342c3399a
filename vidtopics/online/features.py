"""What a read gives: typed arrays and a status for each id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vidtopics.layout import (
    CHAINED,
    HEADER,
    LAYOUT,
    LAYOUTS,
    TOMBSTONE,
    Field,
    Schema,
    decode,
    headers,
)
from vidtopics.layout.chain import TAIL, visible
from vidtopics.layout.schema import NUMBERS

NOTHING = bytes(HEADER.itemsize)
EVER = -(2**63)


class Status(IntEnum):
    """What is known of one id; the numbers are those of Feast's FieldStatus."""

    UNREADABLE = 0
    """Bytes are there, but of an unknown schema, another layout or another id."""
    PRESENT = 1
    NULL = 2
    """The value ended (a tombstone)."""
    NOT_FOUND = 3
    OUTSIDE_MAX_AGE = 4
    """There is a value, but its event time lies further back than the view's TTL."""


PRESENT = np.uint8(Status.PRESENT)


@dataclass(frozen=True)
class Features:
    """Fields of one view for N ids, in the order asked for.

    `status`: uint8[N]; `event_us`, `created_us`: int64[N], from when the value holds and is known
    (0: nothing there). A field is `features[name]`: [N] or [N, width] in its contract's type, with
    the field's padding wherever the status isn't PRESENT or the field is null.

    >>> schema = Schema((Field("topic_count", "int64", "scalar", "int8"),))
    >>> none = gather(schema, {}, [None, None], np.zeros(2, np.uint32), now_us=0)
    >>> none["topic_count"], none.present
    (array([0, 0]), array([False, False]))
    """

    status: NDArray[np.uint8]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.generic]] = field(repr=False)
    null: Mapping[str, NDArray[np.bool_]] = field(repr=False)
    unknown_schema: bool = field(default=False, repr=False)
    """Whether a value is of a schema that the directory didn't name when it was read."""

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.status)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields."""
        return tuple(self.columns)

    @property
    def present(self) -> NDArray[np.bool_]:
        """bool[N]: the status is PRESENT."""
        return np.equal(self.status, Status.PRESENT)


def gather(
    schema: Schema,
    known: Mapping[int, Schema],
    values: Sequence[bytes | None],
    fingerprints: NDArray[np.uint32],
    *,
    now_us: int,
    ttl_us: int = 0,
    live: int = 0,
    names: Sequence[str] | None = None,
    expired_values: bool = False,
) -> Features:
    """Values as they came from Redis, aligned and judged.

    Args:
        schema: the fields that the view has now; they are what the result holds.
        known: schemas by hash, for rows that an older or newer writer wrote.
        values: N values; None where there is no key.
        fingerprints: uint32[N] that the values should bear.
        now_us: the time by which TTL is judged.
        ttl_us: the view's TTL; 0: none. Inclusive, as offline.
        live: the view's live load; of each value the newest version up to it counts.
        names: the fields to decode; all by default.
        expired_values: a value past its TTL is in the columns, whatever its status.
    """
    fields = [f for f in schema.fields if names is None or f.name in names]
    least_us = now_us - ttl_us if ttl_us else EVER
    common = _fixed(schema, fields, values, fingerprints, least_us, live)
    if common is not None:
        return common
    values = [value and _visible(value, live) for value in values]
    status = np.full(len(values), Status.NOT_FOUND, np.uint8)
    times = np.zeros((2, len(values)), np.int64)
    padded = [v if v is not None and len(v) >= HEADER.itemsize else NOTHING for v in values]
    heads = headers(padded)
    exists = np.array([v is not None for v in values], bool)
    good = (heads["mark"] & LAYOUTS == LAYOUT) & (heads["fingerprint"] == fingerprints)
    status[exists] = Status.PRESENT
    status[exists & (heads["event_us"] < least_us)] = Status.OUTSIDE_MAX_AGE
    status[exists & (heads["mark"] & TOMBSTONE > 0)] = Status.NULL
    status[exists & ~good] = Status.UNREADABLE
    times[:, good] = heads["event_us"][good], heads["created_us"][good]
    decoded = status == Status.PRESENT
    if expired_values:
        decoded |= status == Status.OUTSIDE_MAX_AGE
    at = np.flatnonzero(decoded)
    hashes = heads["schema"][at]
    columns = {f.name: f.empty(len(values)) for f in fields}
    null = {f.name: np.ones(len(values), np.bool_) for f in fields}
    unknown = False
    for value in sorted(
        np.unique(hashes).tolist(), key=lambda value: value != schema.hash
    ):  # today's first
        rows = at[hashes == value]
        written = schema if value == schema.hash else known.get(value)
        if written is None:
            status[rows], unknown = Status.UNREADABLE, True
        else:
            _fill(fields, written, padded, rows, status, columns, null)
    return Features(status, times[0], times[1], columns, null, unknown)


def _fixed(
    schema: Schema,
    fields: Sequence[Field],
    values: Sequence[bytes | None],
    fingerprints: NDArray[np.uint32],
    least_us: int,
    live: int,
) -> Features | None:
    """Decode the common case in a fifth of the time; None where it isn't that case.

    Common: every value is missing, or all its versions are whole and of today's schema, and the
    visible one isn't too old; nothing is null, and no field is of variable length.
    """
    if not schema.fixed or not values:
        return None
    size, payloads = schema.row.itemsize, cast("Sequence[bytes]", values)
    missing = np.zeros(len(values), np.bool_)
    try:
        sizes = set(map(len, payloads))
    except TypeError:  # no key for one of them
        missing = np.array([v is None for v in values], np.bool_)
        payloads = [bytes(size) if v is None else v for v in values]
        sizes = set(map(len, payloads))
    if any((length + TAIL) % (size + TAIL) for length in sizes):
        return None
    marks: NDArray[np.uint8] | int = LAYOUT
    rows = np.frombuffer(b"".join(payloads), schema.row) if sizes == {size} else None
    if rows is None or (rows["header"]["load"] > live).any():
        rows, marks, hidden = _visible_rows(schema, payloads, live)
        missing |= hidden
    heads, nulls = rows["header"], rows["nulls"]
    good = (
        (heads["mark"] == marks)
        & (heads["schema"] == schema.hash)
        & (heads["fingerprint"] == fingerprints)
    )
    good &= heads["event_us"] >= least_us
    if nulls.any() or not (good | missing).all():
        return None
    names = {f.name for f in fields}
    columns = {
        f.name: rows[f"f{i}"].astype(NUMBERS[f.type])
        for i, f in enumerate(schema.fields)
        if f.name in names
    }
    status = np.full(len(rows), PRESENT, np.uint8)
    if missing.any():
        status[missing] = Status.NOT_FOUND
        for f in fields:
            columns[f.name][missing] = f.pad
    null = {name: missing.copy() for name in columns}
    return Features(status, heads["event_us"].copy(), heads["created_us"].copy(), columns, null)


def _visible_rows(
    schema: Schema, payloads: Sequence[bytes], live: int
) -> tuple[NDArray[np.void], NDArray[np.uint8], NDArray[np.bool_]]:
    """The visible version of values whose versions all have the schema's size.

    Gives rows [N] (zeros where no version is visible), the marks that they have to have, and
    bool[N]: no version is visible.
    """
    size = schema.row.itemsize
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    starts, counts = np.cumsum(lengths) - lengths, (lengths + TAIL) // (size + TAIL)
    joined = b"".join(payloads)
    # One that begins at each byte: a gather of rows, whatever lies between them.
    windows = np.ndarray(len(joined) - size + 1, f"V{size}", joined, strides=(1,))
    rows = windows[starts].view(schema.row)
    hidden, depth = rows["header"]["load"] > live, np.zeros(len(payloads), np.int64)
    for place in range(1, int(counts.max())):
        at = np.flatnonzero(hidden & (counts > place))
        rows[at] = windows[starts[at] + place * size].view(schema.row)
        hidden[at], depth[at] = rows["header"]["load"][at] > live, place
    rows[hidden] = np.zeros((), schema.row)
    marks = np.where(depth < counts - 1, np.uint8(LAYOUT | CHAINED), np.uint8(LAYOUT))
    return rows, marks, hidden


def _visible(value: bytes, live: int) -> bytes | None:
    """The version that readers see; None: there is none, or nothing: the value is damaged."""
    try:
        return visible(value, live)
    except ValueError:
        return b""


def _fill(
    fields: Sequence[Field],
    written: Schema,
    values: Sequence[bytes],
    rows: NDArray[np.intp],
    status: NDArray[np.uint8],
    columns: dict[str, NDArray[np.generic]],
    null: dict[str, NDArray[np.bool_]],
) -> None:
    """Puts the rows of one schema in their places; a field that they don't have stays null.

    Vectors of another width than those in place make their rows unreadable.
    """
    shapes = {f.name: f.shape for f in written.fields}
    if any(shapes.get(f.name, f.shape) != f.shape for f in fields):
        status[rows] = Status.UNREADABLE
        return
    decoded = decode(written, [values[i] for i in rows.tolist()], [f.name for f in fields])
    good = decoded.readable
    stored = [f for f in fields if f.name in decoded.columns]
    for f in stored:
        if f.kind == "vector":
            good = good & (
                decoded.null[f.name] | _same_width(columns[f.name], decoded.columns[f.name])
            )
    status[rows[~good]] = Status.UNREADABLE
    for f in stored:
        column = decoded.columns[f.name]
        null[f.name][rows] = decoded.null[f.name] | ~good
        if f.kind == "vector" and not columns[f.name].shape[1]:
            columns[f.name] = np.full((len(status), column.shape[1]), f.pad, column.dtype)
        if f.kind != "vector" or column.shape[1] == columns[f.name].shape[1]:
            columns[f.name][rows[good]] = column[good]


def _same_width(column: NDArray[np.generic], decoded: NDArray[np.generic]) -> bool:
    """Whether vectors of two schemas fit one array; width 0: none is known yet."""
    return column.shape[1] in {0, decoded.shape[1]}
