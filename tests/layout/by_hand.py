"""The layout's docstring in plain `struct`, a row at a time: what `encode` is held to."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from vidtopics.layout import Field, Schema

CODES = {
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "bool": "?",
    "timestamp": "q",
}


def value_bytes(
    schema: Schema, row: Mapping[str, object], fingerprint: int, event_us: int, created_us: int
) -> bytes:
    """One value; None in `row` is null."""
    fixed, tail, nulls = b"", b"", bytearray((len(schema.fields) + 7) // 8)
    for i, field in enumerate(schema.fields):
        value = row[field.name]
        if value is None:
            nulls[i // 8] |= 1 << i % 8
        if not field.variable:
            numbers = value if isinstance(value, list) else [field.pad if value is None else value]
            if value is None:
                numbers = [field.pad] * field.width
            fixed += b"".join(struct.pack("<" + CODES[field.wire], n) for n in numbers)
        else:
            tail += b"" if value is None else _variable(field, value)
            fixed += struct.pack("<I", len(tail))
    header = struct.pack("<BIIIqq", 2, schema.hash, fingerprint, 0, event_us, created_us)
    return header + bytes(nulls) + fixed + tail


def _variable(field: Field, value: object) -> bytes:
    if field.kind == "bytes":
        return value.encode() if isinstance(value, str) else value  # type: ignore[return-value]
    assert isinstance(value, list)
    if field.type in CODES:
        return b"".join(struct.pack("<" + CODES[field.wire], n) for n in value)
    items = [i.encode() if isinstance(i, str) else i for i in value]
    ends = [sum(map(len, items[: i + 1])) for i in range(len(items))]
    return struct.pack(f"<{1 + len(ends)}I", len(items), *ends) + b"".join(items)
