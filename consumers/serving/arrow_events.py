"""Events as rows of Arrow, from whoever may send some: nothing of the body is trusted.

Arrow reads a stream as it is described: offsets beyond the buffers, a number of rows that has no
bytes behind it, or a size after decompression that no memory has. So the description of each batch
is looked at before the batch is made, and its values before they are read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from vidtopics.online.event_rules import FIELDS

VERSION_5 = 4
"""How a message names the format of Arrow 1.0 and later; before, compression was said elsewhere."""
_VERSION, _HEADER = 0, 2
"""Fields of the table Message (Arrow's format/Message.fbs), by their place."""
_LENGTH, _COMPRESSION = 0, 3
"""Fields of the table RecordBatch."""
BROKEN = (ValueError, KeyError, OverflowError, RecursionError, OSError, pa.ArrowException)
"""What parsers raise; of Arrow a time beyond the year 9999 and an unknown time zone too."""


def rows_of(body: bytes, check: Callable[[int], None]) -> list[dict[str, Any]]:
    """The rows of an IPC stream, each from field name to value.

    Args:
        body: the stream.
        check: takes the number of rows up to a batch before it is read, and raises if that is too
            many.

    Raises:
        ValueError, KeyError, OverflowError, OSError, pyarrow.ArrowException: it is no stream, or
            one with other types than text, numbers and timestamps, or compressed, or its values
            aren't what it says.
    """
    messages = iter(pa.ipc.MessageReader.open_stream(body))
    first = next(messages, None)
    if first is None or first.type != "schema":
        raise ValueError("no schema at its start")
    schema = pa.ipc.read_schema(first)
    _check_schema(schema)
    rows: list[dict[str, Any]] = []
    for message in messages:
        if message.type != "record batch":
            raise ValueError(f"a message {message.type}")
        check(len(rows) + _plain_length(message.metadata.to_pybytes()))
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
        rows += batch.to_pylist()
    return rows


def _check_schema(schema: pa.Schema) -> None:
    if len(schema) > len(FIELDS):
        raise ValueError(f"{len(schema)} columns: an event has {len(FIELDS)} fields")
    for field in schema:
        if not _is_plain(field.type):
            text = f"a column of {field.type}: text, numbers and timestamps alone are read"
            raise ValueError(text)


def _is_plain(kind: pa.DataType) -> bool:
    """Whether each value takes bytes of its own in the body, and is one that an event has.

    >>> [_is_plain(kind) for kind in (pa.string(), pa.int32(), pa.timestamp("us", "UTC"))]
    [True, True, True]
    >>> [_is_plain(kind) for kind in (pa.null(), pa.dictionary(pa.int8(), pa.string()))]
    [False, False]
    """
    tests = pa.types.is_string, pa.types.is_large_string, pa.types.is_integer
    return any(test(kind) for test in (*tests, pa.types.is_floating, pa.types.is_timestamp))


def _plain_length(metadata: bytes) -> int:
    """How many rows a batch says it has; ValueError where it is compressed.

    Args:
        metadata: the flatbuffer of its message, whose offsets Arrow has verified.
    """
    [root] = struct.unpack_from("<I", metadata)
    at = _place(metadata, root, _VERSION)
    if not at or struct.unpack_from("<h", metadata, at) != (VERSION_5,):
        raise ValueError("a batch in a format before Arrow 1.0")
    at = _place(metadata, root, _HEADER)
    batch = at + struct.unpack_from("<I", metadata, at)[0]
    if _place(metadata, batch, _COMPRESSION):
        raise ValueError("a compressed batch")
    at = _place(metadata, batch, _LENGTH)
    length: int = struct.unpack_from("<q", metadata, at)[0] if at else 0
    if length < 0:
        raise ValueError(f"a batch of {length} rows")
    return length


def _place(metadata: bytes, table: int, field: int) -> int:
    """Where the value of a table's field lies; 0: it has none."""
    fields = table - struct.unpack_from("<i", metadata, table)[0]
    [size] = struct.unpack_from("<H", metadata, fields)
    at = 4 + 2 * field
    offset = struct.unpack_from("<H", metadata, fields + at)[0] if at < size else 0
    return table + offset if offset else 0
