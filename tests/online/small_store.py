"""A small view and a way to put rows of it into a store, for tests of readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import redis
import redis.asyncio

from vidtopics.layout import Field, KeySpace, Schema, encode, tombstones
from vidtopics.materialization import StoreWriter
from vidtopics.online.connections import Connection

TOPICS = Schema(
    (
        Field("topic_ids", "int64", "slots", "int32", 2, -1),
        Field("topic_count", "int64", "scalar", "int8"),
        Field("label", "string", "bytes"),
    )
)


def value(n: int) -> dict[str, object]:
    """A row of TOPICS that says n everywhere."""
    return {"topic_ids": [n, -1], "topic_count": n, "label": f"topic {n}"}


def values(
    schema: Schema,
    rows: Sequence[Mapping[str, object] | None],
    fingerprints: object,
    event_us: int,
    created_us: int = 1,
) -> list[bytes]:
    """Rows as bytes; None is a tombstone."""
    payloads = []
    for row, mark in zip(rows, np.asarray(fingerprints, np.uint32), strict=True):
        marks = np.array([mark], np.uint32)
        if row is None:
            payloads += tombstones(schema, marks, [event_us], [created_us])
            continue
        null = {name: np.array([v is None]) for name, v in row.items()}
        columns = {f.name: [row[f.name]] for f in schema.fields}
        payloads += encode(
            schema,
            columns,
            fingerprints=marks,
            event_us=[event_us],
            created_us=[created_us],
            null=null,
        )
    return payloads


def count_timeouts(patch: pytest.MonkeyPatch) -> list[int]:
    """The server's port for each answer that doesn't come in time; sync and async clients."""
    ports: list[int] = []
    read = redis.connection.AbstractConnection.read_response
    read_async = redis.asyncio.connection.AbstractConnection.read_response

    def read_response(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return read(self, *arguments, **options)
        except redis.TimeoutError:
            ports.append(self.port)
            raise

    async def read_response_async(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return await read_async(self, *arguments, **options)
        except redis.TimeoutError:
            ports.append(self.port)
            raise

    patch.setattr(redis.connection.AbstractConnection, "read_response", read_response)
    patch.setattr(redis.asyncio.connection.AbstractConnection, "read_response", read_response_async)
    return ports


def put(
    connection: Connection,
    rows: Mapping[str, Mapping[str, object] | None],
    *,
    view: str = "topics",
    schema: Schema = TOPICS,
    prefix: str = "vt",
    ttl_us: int = 0,
    event_us: int = 1,
    created_us: int = 1,
) -> KeySpace:
    """Write rows by id; the keys that they lie under."""
    writer = StoreWriter(connection, prefix=prefix)
    load = writer.load(writer.register(view, schema, ttl_us))
    ids = [name.encode() for name in rows]
    load.add(
        ids, values(schema, list(rows.values()), load.space.fingerprints(ids), event_us, created_us)
    )
    load.finish()
    return load.space
