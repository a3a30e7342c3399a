"""What one view answered in one request, as a line of a serving log (see `docs/parity.md`).

A feature is compared by its canonical bytes, which depend on what the reader got and not on how it
lay in Redis: the numbers of a row, little-endian, in the type that the reader gets. Where a row has
more than 64 bytes, or not always as many (text, vectors, lists), the first 8 bytes of their BLAKE2b
stand for them.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtopics.layout import Field, Watermark

PLAIN_BYTES = 64
HASH_BYTES = 8
VERSION = 1


def plain(field: Field) -> bool:
    """Whether the canonical bytes of a feature are its numbers themselves.

    >>> ids = Field("ids", "int64", "slots", "int32", 8)
    >>> vector = Field("v", "float32", "vector", "float32")
    >>> plain(ids), plain(vector)
    (True, False)
    """
    return field.kind in {"scalar", "slots"} and field.empty(1).nbytes <= PLAIN_BYTES


def canonical(field: Field, column: NDArray[np.generic]) -> NDArray[np.uint8]:
    """uint8[N, k]: the canonical bytes of N values of a field, as a reader gets them.

    >>> canonical(Field("n", "int64", "scalar", "int8"), np.array([258])).tolist()
    [[2, 1, 0, 0, 0, 0, 0, 0]]
    """
    if not plain(field):
        return hashes(map(_bytes, column))
    little = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
    size = field.empty(1).nbytes
    return np.frombuffer(little.tobytes(), np.uint8).reshape(-1, size)


def hashes(values: Iterable[bytes]) -> NDArray[np.uint8]:
    """uint8[N, 8]: BLAKE2b of each."""
    return np.frombuffer(
        b"".join([blake2b(v, digest_size=HASH_BYTES).digest() for v in values]), np.uint8
    ).reshape(-1, HASH_BYTES)


def _bytes(value: object) -> bytes:
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("<")).tobytes()
    if isinstance(value, list):  # each item behind its length
        return b"".join(len(i).to_bytes(4, "little") + i for i in map(_bytes, value))
    data: Any = value.encode() if isinstance(value, str) else value or b""
    return bytes(data)


@dataclass(frozen=True, eq=False)
class Served:
    """One view's answer to one request.

    Attributes:
        request: the request's id; all its views carry it.
        view: the feature view.
        ids: N entity ids.
        status: uint8[N], :class:`vidtopics.online.Status`.
        event_us: int64[N], from when each value holds; 0: nothing there.
        created_us: int64[N], when it became known.
        client_us: when the answer was there, by the client's clock.
        offset_us: the clock of Redis minus the client's.
        floor: what every bucket of the view had reached before the request; None: not known.
        ceiling: what the furthest had reached after it.
        columns: per feature uint8[P, k], the canonical bytes of the P rows that are PRESENT.
        null: per feature bool[P].
        dropped: requests that this log gave up since its last line, for want of memory or disk.
    """

    request: str
    view: str
    ids: Sequence[str]
    status: NDArray[np.uint8]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    client_us: int
    offset_us: int
    floor: Watermark | None
    ceiling: Watermark | None
    columns: Mapping[str, NDArray[np.uint8]]
    null: Mapping[str, NDArray[np.bool_]]
    dropped: int = 0

    def to_line(self) -> bytes:
        """One line of JSON; binary columns in base64."""
        arrays = {
            name: getattr(self, name).tolist() for name in ("status", "event_us", "created_us")
        }
        columns = {
            name: {"bytes": _text(column), "null": np.flatnonzero(self.null[name]).tolist()}
            for name, column in self.columns.items()
        }
        scalars = {
            name: getattr(self, name)
            for name in ("request", "view", "client_us", "offset_us", "floor", "ceiling")
        }
        tree = {
            "v": VERSION,
            **scalars,
            "dropped": self.dropped,
            "ids": list(self.ids),
            **arrays,
            "columns": columns,
        }
        return json.dumps(tree, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Served:
        """From a line; ValueError where it is damaged or of another version of the format."""
        try:
            return cls._parsed(json.loads(line))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error

    @classmethod
    def _parsed(cls, tree: dict[str, Any]) -> Served:
        if tree["v"] != VERSION:
            raise ValueError(f"version {tree['v']}")
        ids, status = tree["ids"], np.array(tree["status"], np.uint8)
        event_us, created_us = (
            np.array(tree[name], np.int64) for name in ("event_us", "created_us")
        )
        if {len(ids)} != {len(status), len(event_us), len(created_us)}:
            raise ValueError("columns of unequal length")
        present = int((status == 1).sum())
        columns = {name: _array(c["bytes"], present) for name, c in tree["columns"].items()}
        null = {name: np.isin(np.arange(present), c["null"]) for name, c in tree["columns"].items()}
        floor, ceiling = (
            Watermark(*tree[name]) if tree[name] else None for name in ("floor", "ceiling")
        )
        return cls(
            tree["request"],
            tree["view"],
            ids,
            status,
            event_us,
            created_us,
            tree["client_us"],
            tree["offset_us"],
            floor,
            ceiling,
            columns,
            null,
            tree["dropped"],
        )


def _text(column: NDArray[np.uint8]) -> str:
    return b64encode(column.tobytes()).decode()


def _array(text: str, rows: int) -> NDArray[np.uint8]:
    raw = np.frombuffer(b64decode(text, validate=True), np.uint8)
    return raw.reshape(rows, -1) if rows else raw.reshape(0, 0)
