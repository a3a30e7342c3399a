"""A small view and a way to put rows of it into a store, for tests of readers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import redis
import redis.asyncio

from vidtopics.contracts import USER_RECENT_CLICKS
from vidtopics.layout import (
    Field,
    KeySpace,
    Schema,
    Structures,
    ViewEntry,
    encode,
    place,
    tombstones,
)
from vidtopics.materialization import StoreWriter
from vidtopics.online import OnlineClient
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


def put_queues(
    connection: Connection, queues: Mapping[int, Sequence[str]], *, epoch: int, load: int = 1
) -> None:
    """Make these the live topic queues, by falling clicks."""
    names = Structures("vt", OnlineClient(connection).directory().layout)
    for topic, videos in queues.items():
        connection.rpush(names.queue(load, topic), *videos)
    facts = {"load": load, "epoch": epoch, "topics": list(queues)}
    facts |= {"parents": [], "parent_clicks": [], "popular_clicks": [3.5, 1.0]}
    connection.hset(place("vt", "structures"), "topic_queues", json.dumps(facts))
    connection.incr(place("vt", "directory"))


def put_clicks(
    connection: Connection,
    users: Mapping[str, Sequence[str]],
    *,
    prefix: str = "vt",
    buckets: int = 16,
) -> None:
    """Write the recent clicks of users."""
    rows = {
        user: {
            "recent_video_ids": videos,
            "recent_times": [1] * len(videos),
            "recent_watch_seconds": [-1.0] * len(videos),
        }
        for user, videos in users.items()
    }
    schema = Schema.of(USER_RECENT_CLICKS)
    view = USER_RECENT_CLICKS.name
    put(connection, rows, view=view, schema=schema, prefix=prefix, buckets=buckets)


def go_live(connection: Connection, load: int, *, retained: Sequence[int]) -> None:
    """Let readers of all views see a load; the records of loads that a reader may still be on."""
    texts = connection.hgetall(place("vt", "views"))
    entries = {name: ViewEntry.from_json(text) for name, text in texts.items()}
    for name, entry in entries.items():
        connection.hset(place("vt", "views"), name, replace(entry, live=load).to_json())
    connection.delete(place("vt", "releases"))
    for number in retained:
        connection.hset(place("vt", "releases"), str(number), "{}")
    connection.incr(place("vt", "directory"))


def put(
    connection: Connection,
    rows: Mapping[str, Mapping[str, object] | None],
    *,
    view: str = "topics",
    schema: Schema = TOPICS,
    prefix: str = "vt",
    buckets: int = 16,
    ttl_us: int = 0,
    event_us: int = 1,
    created_us: int = 1,
    load: int = 0,
    retained: Sequence[int] = (),
) -> KeySpace:
    """Write rows by id; the keys that they lie under."""
    writer = StoreWriter(connection, prefix=prefix, buckets=buckets)
    sender = writer.load(writer.register(view, schema, ttl_us), load=load, retained=retained)
    ids, prints = [name.encode() for name in rows], sender.space.fingerprints
    sender.add(ids, values(schema, list(rows.values()), prints(ids), event_us, created_us))
    sender.finish()
    return sender.space
