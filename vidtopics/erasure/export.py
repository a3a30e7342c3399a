"""All that is held of a person, as JSON."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable

from vidtopics.contracts import TABLES, VIEWS
from vidtopics.erasure import history, online
from vidtopics.erasure.files import LINES, OTHERS, walk
from vidtopics.erasure.ids import Ids
from vidtopics.erasure.request import Server
from vidtopics.erasure.rows import persons_rows
from vidtopics.layout.live import UserState
from vidtopics.online import OnlineClient
from vidtopics.online.connections import Connection
from vidtopics.online.features import Status
from vidtopics.tables import Tables
from vidtopics.tables.scans import scan

Json = dict[str, Any]


def export(
    tables: Tables,
    user: str,
    columns: Sequence[str],
    *,
    servers: Sequence[Server] = (),
    also: Sequence[Path] = (),
) -> Json:
    """All that a home, its Redis and more folders hold of a user.

    Args:
        tables: the home's.
        user: the id.
        columns: that hold ids of users in files (`erasure.user_columns`).
        servers: where values of the home lie.
        also: folders outside the home.

    Returns:
        `user`; `tables`: rows by table; `files`: by path the rows or lines; `redis`: by address the
        values by view, live state, entries of streams, dead letters and events held back.
    """
    ids = Ids.of([user], columns)
    without = frozenset(tables.home / name for name in (*OTHERS, "tables"))
    roots = (tables.home, *also)
    files = {
        str(path): content
        for root in roots
        for path in walk(root, without)
        if (content := _file(path, ids))
    }
    stored = {
        table.name: rows
        for table in TABLES.values()
        if tables.exists(table) and (rows := _rows(scan(tables.snapshot(table)), ids))
    }
    redis = {server.name: _held(server.connection, server.prefix, ids) for server in servers}
    return {"user": user, "tables": stored, "files": files, "redis": redis}


def _rows(dataset: ds.Dataset, ids: Ids) -> list[Json]:
    judge = persons_rows(ids, dataset.schema)
    if judge is None:
        return []
    return [
        row
        for batch in dataset.to_batches()
        for row in batch.filter(pa.array(judge[1](batch))).to_pylist()
    ]


def _file(path: Path, ids: Ids) -> list[Any]:
    """Rows of a table or Parquet file, lines, or where in other JSON the id stands."""
    if path.is_dir():
        return _rows(scan(DeltaTable(path)), ids) if history.has_people(path, ids) else []
    if path.suffix == ".parquet":
        schema = pq.read_schema(path)
        return _rows(ds.dataset(path), ids) if persons_rows(ids, schema) else []
    if path.suffix in LINES:
        with path.open("rb") as lines:
            return [_readable(line.strip()) for line in lines if ids.named_in_line(line)]
    if path.suffix == ".csv":
        return _csv(path, ids)
    return _json(path, ids) if path.suffix == ".json" else []


def _json(path: Path, ids: Ids) -> list[str]:
    try:
        named = ids.named(json.loads(path.read_bytes())) > 0
    except ValueError:
        return []
    return ["the id, among others"] if named else []


def _csv(path: Path, ids: Ids) -> list[Json]:
    import csv

    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if any(row.get(name) in ids.values for name in ids.columns)
        ]


def _held(connection: Connection, prefix: str, ids: Ids) -> Json:
    """What Redis has, as its readers see it, and what lies behind that."""
    store = online.Store.scan(connection, prefix, ids)
    parts = {
        "values": _values(connection, prefix, ids) if store.values else {},
        "keys": sorted(key.decode(errors="replace") for key in store.values),
        "live": [*_states(connection, store, ids)],
        "events": [
            _decoded(fields)
            for stream in store.users
            for _, fields in online.entries(connection, stream)
            if online.is_theirs(fields, ids)
        ],
        "dead_letters": [
            _decoded(fields)
            for stream in store.dead
            for _, fields in online.entries(connection, stream)
            if any(ids.named_in_line(value) for value in fields.values())
        ],
        "held_back": [
            _readable(member)
            for key in store.held
            for member in cast("Any", connection).zrange(key, 0, -1)
            if ids.named_in_line(member)
        ],
    }
    return {name: part for name, part in parts.items() if part}


def _values(connection: Connection, prefix: str, ids: Ids) -> Json:
    """The live values of each view of users that the store has."""
    client = OnlineClient(connection, prefix=prefix)
    stored = client.directory().views
    values = {}
    (user,) = ids.values
    for name, table in VIEWS.items():
        if name in stored and table.view and table.view.entity == "user":
            features = client.read(name, [user])
            if features.status[0] != Status.NOT_FOUND:
                values[name] = {k: _plain(c[0]) for k, c in features.columns.items()}
    return values


def _states(connection: Connection, store: online.Store, ids: Ids) -> Iterator[Json]:
    (user,) = ids.encoded
    for key in store.states:
        value = cast("bytes | None", cast("Any", connection).hget(key, user))
        if value is not None:
            state = UserState.parse(value)
            records = [_readable_record(record._asdict()) for record in state.records]
            yield {
                "key": key.decode(errors="replace"),
                "exposures": state.exposures,
                "clicks": state.clicks,
                "records": records,
            }


def _readable_record(record: Json) -> Json:
    return {k: v.decode(errors="replace") if isinstance(v, bytes) else v for k, v in record.items()}


def _decoded(fields: dict[bytes, bytes]) -> Json:
    return {k.decode(errors="replace"): _readable(v) for k, v in fields.items()}


def _readable(value: bytes) -> Any:
    """JSON as it is; other text; else base64."""
    try:
        return json.loads(value)
    except ValueError:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()


def _plain(value: Any) -> Any:
    """A feature as JSON has it."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value
