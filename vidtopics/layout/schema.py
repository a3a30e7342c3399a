"""The fields of a view as they are stored, and the header that every value begins with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vidtopics.contracts import ENTITIES, Table
from vidtopics.errors import ContractError, explain
from vidtopics.layout.known import known_fields

LAYOUT = 2
LAYOUTS = 15  # the bits of a value's first byte that say its layout; the others are flags
TOMBSTONE = 16
CHAINED = 32
HEADER = np.dtype(
    [
        ("mark", "u1"),
        ("schema", "<u4"),
        ("fingerprint", "<u4"),
        ("load", "<u4"),
        ("event_us", "<i8"),
        ("created_us", "<i8"),
    ]
)
END = np.dtype("<u4")
NUMBERS = {
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "bool": "?",
    "timestamp": "<i8",
}
KINDS = {"scalar", "slots", "vector", "list", "bytes"}
MAX_ROW = 1 << 20
"""Bytes of a row's fixed part: a reader takes them for each id, whatever lies under it."""


@dataclass(frozen=True)
class Field:
    """One field of a view: what a reader gets (`type`) and what is stored (`wire`).

    `kind`: a "scalar", "slots" (a list of fixed `width`), a "vector" (all rows of one `width`; 1:
    not known, so that the bytes tell), a "list" of any length, or "bytes" (`type` string or bytes).
    `pad` stands where there is no value.
    """

    name: str
    type: str
    kind: str
    wire: str = ""
    width: int = 1
    pad: float = 0

    @property
    def variable(self) -> bool:
        """Whether its bytes lie behind the fixed part."""
        return self.kind in {"list", "bytes"} or (self.kind == "vector" and self.width == 1)

    @property
    def shape(self) -> tuple[str, str, int]:
        """What a reader's column depends on; of a vector not the width, which values may tell."""
        return self.type, self.kind, 0 if self.kind == "vector" else self.width

    @property
    def many(self) -> bool:
        """Whether all rows have `width` numbers."""
        return self.kind == "slots" or (self.kind == "vector" and self.width > 1)

    def empty(self, rows: int) -> NDArray[np.generic]:
        """What a reader gets for `rows` without a value."""
        if self.kind in {"list", "bytes"}:
            return np.full(rows, None, object)
        shape = (rows, self.width) if self.many else (rows, 0) if self.kind == "vector" else rows
        return np.full(shape, self.pad, NUMBERS[self.type])


@dataclass(frozen=True)
class Schema:
    """The fields of a view, in order, and its join keys (sorted; empty: not known).

    Values are written by the fields alone: neither text nor hash has the keys, which stand in the
    view's :class:`ViewEntry`.

    >>> Schema.from_json(EXAMPLE.to_json()) == EXAMPLE
    True
    """

    fields: tuple[Field, ...]
    keys: tuple[str, ...] = field(default=(), compare=False)
    ordered: bool = field(default=True, compare=False)
    """Whether another order of the fields, or a field before others, is another schema."""

    def __post_init__(self) -> None:
        """ContractError for rows that are wider than :data:`MAX_ROW`."""
        size = sum(f.width * np.dtype(NUMBERS[f.wire]).itemsize for f in self.fields if f.many)
        if size > MAX_ROW:
            raise ContractError(
                explain(
                    f"a view of {', '.join(f.name for f in self.fields if f.many)}"[:200],
                    expected=f"{MAX_ROW:,} bytes a row at most",
                    found=f"{size:,}",
                    mend="store fewer numbers, or narrower ones (`wire`)",
                )
            )

    @classmethod
    def of(cls, table: Table) -> Schema:
        """The schema of a contract's view.

        >>> from vidtopics.contracts import VIDEO_TOPICS
        >>> Schema.of(VIDEO_TOPICS).row.itemsize  # 29 header, 1 null bits, 8 x 12, 1 + 1 + 4
        132
        """
        keys = (ENTITIES[table.view.entity].name,) if table.view else ()
        return cls(
            tuple(_field(c.name, c.type, c.width, c.pad, c.wire) for c in table.values), keys
        )

    def sized(self, widths: Mapping[str, int]) -> Schema:
        """The schema with the widths of its vectors, as far as they are named.

        >>> vector = Field("v", "float32", "vector", "float16")
        >>> Schema((vector,)).sized({"v": 128, "w": 3}).fields[0].width
        128
        """
        fields = (
            replace(f, width=widths[f.name]) if f.kind == "vector" and f.name in widths else f
            for f in self.fields
        )
        return replace(self, fields=tuple(fields))

    @property
    def widths(self) -> dict[str, int]:
        """The widths of its vectors that are known."""
        return {f.name: f.width for f in self.fields if f.kind == "vector" and f.width > 1}

    @classmethod
    def from_json(cls, text: str | bytes) -> Schema:
        """From :meth:`to_json`.

        Raises:
            ValueError, TypeError, AttributeError, RecursionError: it is another text.
            ContractError: its rows are too wide.
        """
        fields = tuple(Field(**known_fields(Field, plain)) for plain in json.loads(text))
        if not all(map(_is_field, fields)):
            raise ValueError("a schema with a field of no type that is known")
        return cls(fields)

    def to_json(self) -> str:
        """The text that lies in Redis, so that a reader needs no contract."""
        # -1 and -1.0 are one padding, so they have to be one text: its hash names the schema.
        return json.dumps(
            [asdict(f) | {"pad": float(f.pad)} for f in self.fields], separators=(",", ":")
        )

    @cached_property
    def hash(self) -> int:
        """32 bits that stand in every value's header."""
        return int.from_bytes(hashlib.sha256(self.to_json().encode()).digest()[:4], "little")

    @cached_property
    def fixed(self) -> bool:
        """Whether all values are of one size."""
        return not any(f.variable for f in self.fields)

    @cached_property
    def row(self) -> np.dtype[np.void]:
        """The fixed part of a value."""
        parts: list[tuple[str, object, tuple[int, ...]]] = [("header", HEADER, ())]
        parts.append(("nulls", "u1", ((len(self.fields) + 7) // 8,)))
        for i, f in enumerate(self.fields):
            parts.append(
                (
                    f"f{i}",
                    END if f.variable else NUMBERS[f.wire],
                    (f.width,) if f.many else (),
                )
            )
        return np.dtype(parts)


def _is_field(field: Field) -> bool:
    """Whether a field of a text is one that this version writes and reads."""
    # What a store calls bytes of its own (`proto`) is its affair.
    is_typed = field.wire in NUMBERS if field.type in NUMBERS else field.kind in {"list", "bytes"}
    return (
        isinstance(field.name, str)
        and field.kind in KINDS
        and isinstance(field.type, str)
        and is_typed
        and type(field.width) is int
        and field.width >= 1
        and isinstance(field.pad, int | float)
    )


def _field(
    name: str, type_: str, width: int | str | None, pad: float | None, wire: str | None
) -> Field:
    if type_ == "string":
        return Field(name, "string", "bytes")
    if type_ == "list<string>":
        return Field(name, "string", "list")
    inner = type_.removeprefix("list<").removesuffix(">")
    if inner == type_:
        return Field(name, inner, "scalar", wire or inner, pad=pad or 0)
    kind = "slots" if isinstance(width, int) else "vector" if width else "list"
    return Field(name, inner, kind, wire or inner, width if isinstance(width, int) else 1, pad or 0)


EXAMPLE = Schema((Field("n", "int64", "scalar", "int16"), Field("s", "string", "bytes")))
