"""One run: the latest release of the tables into Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pyarrow as pa
import redis
from deltalake.exceptions import DeltaError

from vidtopics.contracts import STRUCTURES, TOPIC_QUEUES, VIEWS, Table
from vidtopics.failpoints import failpoint
from vidtopics.layout import Schema, Structures, ViewEntry, Watermark, place
from vidtopics.materialization.changes import changes
from vidtopics.materialization.rows import encoded
from vidtopics.materialization.structures import swap_clicks, swap_queues
from vidtopics.materialization.writer import StoreWriter
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables


@dataclass(frozen=True)
class Moved:
    """What a run did to one view or structure: rows looked at, values (or lists) written, older ones left, rows not due yet, and seconds."""

    name: str
    release: int
    read: int = 0
    written: int = 0
    older: int = 0
    not_due: int = 0
    seconds: float = 0.0
    up_to_date: bool = False


def materialize(
    tables: Tables,
    connection: redis.Redis,
    settings: OnlineSettings,
    *,
    full: bool = False,
    report: Callable[[Moved], None] = lambda moved: None,
) -> list[Moved]:
    """Bring Redis to the latest release; what each view and structure needed.

    Args:
        tables: the home's tables.
        connection: Redis, answering in bytes.
        settings: prefix, buckets, whether vectors go online.
        full: read every row of every view again, whatever the watermarks say.
        report: called after each view.

    Raises:
        TableError: nothing was released, or a table that a release names is missing.
        StoreError: the prefix was made with other buckets.
        redis.exceptions.RedisError: the server can't be reached or refuses. Run again.
    """
    release = tables.latest_release()
    writer = StoreWriter(connection, prefix=settings.prefix, buckets=settings.buckets)
    done = []
    for name, version in release["versions"].items():
        if name in VIEWS and (settings.vectors or not _vectors(VIEWS[name])):
            moved = _view(tables, writer, VIEWS[name], version, release["release_id"], full)
        elif name in STRUCTURES:
            moved = _structure(tables, writer, STRUCTURES[name], version, release["release_id"], full)
        else:
            continue
        report(moved)
        done.append(moved)
    return done


def _view(tables: Tables, writer: StoreWriter, table: Table, version: int, release: int, full: bool) -> Moved:
    began = time.monotonic()
    view = table.view
    assert view is not None
    schema = Schema.of(table)
    entry = writer.register(table.name, schema, view.ttl // timedelta(microseconds=1))
    delta = tables.delta(table, version=version)
    table_id = str(delta.metadata().id)
    since = None if full else _since(writer, entry, table_id, version)
    if since == version:
        return Moved(table.name, release, up_to_date=True, seconds=time.monotonic() - began)
    found = changes(table, delta, since, now_us=time.time_ns() // 1000)
    load = writer.load(entry)
    for batch in found.batches():
        load.add(*encoded(table, schema, load.space, batch))
        failpoint("materialize.batch")
    # Rows that are not due hold the watermark back: the next run looks at them again.
    written = load.finish(None if found.not_due else Watermark(release, version, table_id))
    failpoint("materialize.view")
    return Moved(
        table.name, release, found.read, written, found.rows - written, found.not_due, time.monotonic() - began
    )


def _since(writer: StoreWriter, entry: ViewEntry, table_id: str, version: int) -> int | None:
    """The version that every bucket has; None where one has nothing, has another table, or is ahead (an older table was put back)."""
    marks = writer.watermarks(entry)
    if any(m is None or m.table_id != table_id or m.version > version for m in marks):
        return None
    return min(m.version for m in marks if m)


def _structure(tables: Tables, writer: StoreWriter, table: Table, version: int, release: int, full: bool) -> Moved:
    began = time.monotonic()
    connection, structures = writer.connection, Structures(writer.prefix, writer.buckets)
    place_of, moving = place(writer.prefix, "structures"), f"{table.name}:moving"
    text, halfway = cast("list[bytes | None]", connection.hmget(place_of, [table.name, moving]))
    held: dict[str, Any] = json.loads(text) if text and not halfway and not full else {}
    table_id = str(tables.delta(table, version=version).metadata().id)
    facts: dict[str, object] = {"release": release, "version": version, "table_id": table_id}
    if held.get("version") == version and held["table_id"] == table_id:
        return Moved(table.name, release, up_to_date=True, seconds=time.monotonic() - began)
    rows = tables.read(table, version=version)
    # Stands until the last list is right: a run that dies before leaves lists that no facts name.
    connection.hset(place_of, moving, str(release))
    if table is TOPIC_QUEUES:
        lists = swap_queues(connection, structures, rows, facts, settled=bool(held))
    else:
        lists = swap_clicks(connection, structures, rows, _before(tables, table, held, table_id), facts)
    connection.hdel(place_of, moving)
    return Moved(table.name, release, len(rows), lists, seconds=time.monotonic() - began)


def _before(tables: Tables, table: Table, held: dict[str, Any], table_id: str) -> pa.Table | None:
    """The rows that Redis holds; None where that isn't known: no such version, or it can't be read any more."""
    if held.get("table_id") != table_id:
        return None
    try:
        return tables.read(table, version=held["version"])
    except (DeltaError, OSError):  # vacuumed
        return None


def _vectors(table: Table) -> bool:
    return table.view is not None and table.view.vectors
