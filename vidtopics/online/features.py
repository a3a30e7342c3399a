"""What a read gives: typed arrays and a status for each id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vidtopics.layout import HEADER, LAYOUT, TOMBSTONE, Field, Schema, decode, headers
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

    >>> none = gather(Schema((Field("topic_count", "int64", "scalar", "int8"),)), {}, [None, None], np.zeros(2, np.uint32), now_us=0)
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
        names: the fields that are wanted; all by default.
        expired_values: a value past its TTL is in the columns, whatever its status.
    """
    wanted = [f for f in schema.fields if names is None or f.name in names]
    least_us = now_us - ttl_us if ttl_us else EVER
    common = _fixed(schema, wanted, values, fingerprints, least_us)
    if common is not None:
        return common
    status = np.full(len(values), Status.NOT_FOUND, np.uint8)
    times = np.zeros((2, len(values)), np.int64)
    found = [v if v is not None and len(v) >= HEADER.itemsize else NOTHING for v in values]
    heads = headers(found)
    there = np.array([v is not None for v in values], bool)
    good = (heads["layout"] == LAYOUT) & (heads["fingerprint"] == fingerprints)
    status[there] = Status.PRESENT
    status[there & (heads["event_us"] < least_us)] = Status.OUTSIDE_MAX_AGE
    status[there & (heads["flags"] & TOMBSTONE > 0)] = Status.NULL
    status[there & ~good] = Status.UNREADABLE
    times[:, good] = heads["event_us"][good], heads["created_us"][good]
    decoded = (Status.PRESENT, Status.OUTSIDE_MAX_AGE) if expired_values else (Status.PRESENT,)
    at = np.flatnonzero(np.isin(status, decoded))
    hashes = heads["schema"][at]
    columns = {f.name: f.empty(len(values)) for f in wanted}
    null = {f.name: np.ones(len(values), np.bool_) for f in wanted}
    unknown = False
    for value in sorted(
        np.unique(hashes).tolist(), key=lambda value: value != schema.hash
    ):  # today's first
        rows = at[hashes == value]
        written = schema if value == schema.hash else known.get(value)
        if written is None:
            status[rows], unknown = Status.UNREADABLE, True
        else:
            _fill(wanted, written, found, rows, status, columns, null)
    return Features(status, times[0], times[1], columns, null, unknown)


def _fixed(
    schema: Schema,
    wanted: Sequence[Field],
    values: Sequence[bytes | None],
    fingerprints: NDArray[np.uint32],
    least_us: int,
) -> Features | None:
    """The case of nearly every read, in a fifth of the time: every value that is there is whole, of today's schema and not too old.

    Also nothing is null, and no field is of variable length. None: something is otherwise, each
    value has to be judged by itself.
    """
    size, gone = schema.row.itemsize, False
    found = cast("Sequence[bytes]", values)
    try:
        sizes = set(map(len, found))
    except TypeError:  # no key for one of them
        gone, found = True, [v or bytes(size) for v in values]
        sizes = set(map(len, found))
    if sizes != {size} or not schema.fixed:
        return None
    rows = np.frombuffer(b"".join(found), schema.row)
    heads, nulls = rows["header"], rows["nulls"]
    good = (
        (heads["layout"] == LAYOUT)
        & (heads["schema"] == schema.hash)
        & (heads["fingerprint"] == fingerprints)
    )
    good &= (heads["flags"] == 0) & (heads["event_us"] >= least_us)
    missing = (
        np.array([v is None for v in values], np.bool_) if gone else np.zeros(len(rows), np.bool_)
    )
    if nulls.any() or not (good | missing).all():
        return None
    names = {f.name for f in wanted}
    columns = {
        f.name: rows[f"f{i}"].astype(NUMBERS[f.type])
        for i, f in enumerate(schema.fields)
        if f.name in names
    }
    status = np.full(len(rows), PRESENT, np.uint8)
    if gone:
        status[missing] = Status.NOT_FOUND
        for f in wanted:
            columns[f.name][missing] = f.pad
    null = {name: missing.copy() for name in columns}
    return Features(status, heads["event_us"].copy(), heads["created_us"].copy(), columns, null)


def _fill(
    wanted: Sequence[Field],
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
    shapes = {f.name: (f.type, f.kind, f.width) for f in written.fields}
    if any(
        shapes.get(f.name, shape) != shape for f in wanted if (shape := (f.type, f.kind, f.width))
    ):
        status[rows] = Status.UNREADABLE
        return
    decoded = decode(written, [values[i] for i in rows.tolist()], [f.name for f in wanted])
    good = decoded.readable
    there = [f for f in wanted if f.name in decoded.columns]
    for f in there:
        if f.kind == "vector":
            good = good & (
                decoded.null[f.name] | _same_width(columns[f.name], decoded.columns[f.name])
            )
    status[rows[~good]] = Status.UNREADABLE
    for f in there:
        found = decoded.columns[f.name]
        null[f.name][rows] = decoded.null[f.name] | ~good
        if f.kind == "vector" and not columns[f.name].shape[1]:
            columns[f.name] = np.full((len(status), found.shape[1]), f.pad, found.dtype)
        if f.kind != "vector" or found.shape[1] == columns[f.name].shape[1]:
            columns[f.name][rows[good]] = found[good]


def _same_width(held: NDArray[np.generic], found: NDArray[np.generic]) -> bool:
    """Whether vectors of two schemas fit one array; width 0: there are none yet."""
    return held.shape[1] in {0, found.shape[1]}
