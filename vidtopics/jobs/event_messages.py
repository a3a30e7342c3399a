"""Events of what a source delivers: lines and messages of JSON, Arrow IPC streams, Parquet files.

Nothing stops a source: what can't be read is a RefusedError in the place of an event, which the
client of events puts into the dead letters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from consumers.serving.arrow_events import BROKEN, rows_of
from vidtopics.ingest.event_fields import EventFields
from vidtopics.ingest.replay import events_of_row
from vidtopics.online.event_rules import RefusedError, shown

Format = Literal["json", "arrow", "parquet"]
ROWS = 1_000
"""Of a Parquet file at a time."""
LEFT_OUT = object()
"""In the place of a message of a kind that is left out."""


def events_of_message(
    kind: Format, value: bytes | None, fields: EventFields | None = None
) -> Iterator[object]:
    """The events of a message, or of a whole Parquet file; a row of the ingest format may be two.

    LEFT_OUT stands for one that `fields` leave out.

    Args:
        kind: how it is encoded. JSON: an object, or a list of them.
        value: the message; None: one without a value, as a deletion of a compacted topic.
        fields: the names that it has; None: those of an event.

    >>> message = b'{"event_id": "e", "clicked": 1}'
    >>> [event["kind"] for event in events_of_message("json", message)]
    ['impression', 'click']
    >>> list(events_of_message("json", b"{"))
    ['{']
    """
    if value is None:
        yield RefusedError("no_event", "expected a message with a value, found none")
        return
    readers = {"json": _of_json, "arrow": _of_arrow, "parquet": _of_parquet}
    for row in readers[kind](value):
        event = row if fields is None or isinstance(row, RefusedError) else fields.event(row)
        yield from [LEFT_OUT] if event is None and row is not None else events_of_row(event)


def _of_json(value: bytes) -> Iterable[object]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return [RefusedError("not_utf8", f"expected JSON in UTF-8, found {shown(value)}")]
    if not text.strip():
        return []
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return tree if isinstance(tree, list) else [tree]


def _of_arrow(value: bytes) -> Iterable[object]:
    try:
        return rows_of(value, lambda rows: None)
    except BROKEN as error:
        return [_unreadable("an Arrow IPC stream", error)]


def _of_parquet(value: bytes) -> Iterator[Any]:
    """Rows up to the first that can't be read."""
    try:
        with pq.ParquetFile(pa.BufferReader(value)) as file:
            for batch in file.iter_batches(ROWS):
                yield from batch.to_pylist()
    except BROKEN as error:
        yield _unreadable("a Parquet file that can be read to its end", error)


def _unreadable(expected: str, error: Exception) -> RefusedError:
    detail = " ".join(str(error).split())[:200] or type(error).__name__
    return RefusedError("no_event", f"expected {expected}, found {detail}")
