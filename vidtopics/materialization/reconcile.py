"""The nightly check of keys, and of a sample of values and lists, against the tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, RELEASES, TOPIC_QUEUES, VIEWS, Table
from vidtopics.layout import (
    HEADER,
    TOMBSTONE,
    Schema,
    ViewEntry,
    Watermark,
    decode,
    headers,
    place,
)
from vidtopics.layout.chain import visible, with_load
from vidtopics.materialization.batches import chunks
from vidtopics.materialization.changes import Changes, changes, live, snapshot
from vidtopics.materialization.generations import Generations
from vidtopics.materialization.lock import hold
from vidtopics.materialization.reconcile_lists import lists
from vidtopics.materialization.reports import Reconciled
from vidtopics.materialization.rows import encoded
from vidtopics.materialization.switching import records
from vidtopics.online.connections import Connection
from vidtopics.online.served import canonical
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Tables
from vidtopics.tables.whole import readable, whole
from vidtopics.timestamps import microseconds

__all__ = ["Reconciled", "reconcile"]

NEVER = -(2**63)
TRIES = 3
Times = tuple[int, int]


def reconcile(
    tables: Tables,
    connection: Connection,
    settings: OnlineSettings,
    *,
    sample: int = 10_000,
    seed: int = 0,
    report: Callable[[Reconciled], None] = lambda reconciled: None,
) -> list[Reconciled]:
    """Compare what readers see with the tables at the versions that Redis names.

    Changes nothing. Where a run goes live meanwhile it begins again; the last of :data:`TRIES`
    times it holds the lock.

    Args:
        tables: the home's tables.
        connection: Redis.
        settings: prefix and buckets.
        sample: values of each view, and lists of each kind, that are compared byte for byte.
        seed: of the choice.
        report: called after each view and structure.

    Raises:
        LockError, TableError, StoreError, RedisError: as :func:`materialize`.
    """
    for last in [False] * (TRIES - 1) + [True]:
        with hold(connection, settings.prefix) if last else nullcontext():
            store = Generations(connection, settings.prefix, settings.buckets)
            store.open(create=False)
            before = _state(store)
            done = list(_all(tables, store, sample, seed))
            if _state(store) == before:
                break
    for reconciled in done:
        report(reconciled)
    return done


def _state(store: Generations) -> object:
    """What another run changes: the directory's version."""
    return store.connection.get(place(store.prefix, "directory"))


def _all(tables: Tables, store: Generations, sample: int, seed: int) -> Iterator[Reconciled]:
    live = records(store)
    marks = live[-1].marks if live else {}
    for name, entry in store.entries().items():
        if name in VIEWS:
            choice = np.random.default_rng(seed)
            yield _view(tables, store, VIEWS[name], entry, marks.get(name, ""), sample, choice)
    released = _released(tables)
    choice, due = np.random.default_rng(seed), TOPIC_QUEUES.name in released
    if reconciled := lists(tables, store, sample, choice, due=due):
        yield reconciled


def _released(tables: Tables) -> Collection[str]:
    """The tables that the latest release names; none before there is one."""
    with readable(RELEASES):
        return (
            tables.latest_release()["versions"]
            if tables.exists(RELEASES) and len(tables.read(RELEASES))
            else ()
        )


def _view(
    tables: Tables,
    store: Generations,
    table: Table,
    entry: ViewEntry,
    live_mark: str,
    sample: int,
    choice: np.random.Generator,
) -> Reconciled:
    if not live_mark or None in store.watermarks(entry):
        return Reconciled(table.name, None, faults={"not loaded to its end": 1})
    mark = Watermark.parse(live_mark.encode())
    delta = snapshot(tables, table, mark.version)
    if str(delta.metadata().id) != mark.table_id:
        return Reconciled(table.name, None, faults={"loaded from another table": 1})
    now_us = time.time_ns() // 1000
    rows = changes(table, whole(delta), None, now_us=now_us)
    ids, alive, event_us, created_us = _entities(table, rows)
    may_lack = event_us + entry.ttl_us < now_us if entry.ttl_us else np.zeros(len(ids), np.bool_)
    missing, others, keys = _keys(store, entry, ids, may_lack)
    newest = int(event_us.max(initial=NEVER)), int(created_us.max(initial=NEVER))
    seen = [(name, at) for name, at in zip(others, _times(store, entry, others), strict=True) if at]
    extra = [name for name, at in seen if not _any_later(at, newest)]
    chosen = choice.random(len(ids)) < sample / max(1, len(ids))
    wrong, later = _wrong(store, table, entry, rows, chosen)
    faults = {"missing": missing, "not in the table": extra, "another value": sorted(wrong)}
    return Reconciled.of(
        table.name,
        mark.version,
        int(alive),
        len(ids) - int(alive),
        keys - (len(others) - len(seen)),
        int(chosen.sum()),
        faults,
        newer=later + len(seen) - len(extra),
    )


def _entities(
    table: Table, rows: Changes
) -> tuple[list[bytes], int, NDArray[np.int64], NDArray[np.int64]]:
    """Ids in the order of `rows`, how many have a value, and the event and created time of each."""
    ids: list[bytes] = []
    times = [np.zeros((2, 0), np.int64)]
    alive = 0
    for batch in rows.batches():
        ids += [i.encode() for i in batch[table.key[0]].to_pylist()]
        times.append(np.array([microseconds(batch[name]) for name in (EVENT_TIME, CREATED_TIME)]))
        alive += int(live(batch, table).sum())
    event_us, created_us = np.concatenate(times, axis=1)
    return ids, alive, event_us, created_us


def _keys(
    store: Generations, entry: ViewEntry, ids: Sequence[bytes], may_lack: NDArray[np.bool_]
) -> tuple[list[bytes], list[bytes], int]:
    """Ids without a key, ids of keys that the table hasn't, and the number of keys.

    `may_lack`: values past their TTL, which Redis may have dropped.
    """
    place = {name: i for i, name in enumerate(ids)}
    seen = np.zeros(len(ids), np.bool_)
    extra: set[bytes] = set()
    space = store.keys(entry)
    pattern = f"{store.prefix}:{entry.generation}:{entry.number}:{{*"
    for key in store.connection.scan_iter(match=pattern, count=1_000):
        name = cast("bytes", key).partition(b"}")[2]
        if name in place and space.of([name]) == [key]:
            seen[place[name]] = True
        else:
            extra.add(name)
    return (
        [ids[i] for i in np.flatnonzero(~seen & ~may_lack).tolist()],
        sorted(extra),
        int(seen.sum()) + len(extra),
    )


def _times(store: Generations, entry: ViewEntry, ids: Sequence[bytes]) -> list[Times | None]:
    """Event and created time of the values of some ids; None where there is none to be seen yet.

    A key that isn't where its id's should be has none at all.
    """
    values = _stored(store, entry, ids)
    seen = [value and _visible(value, entry.live) for value in values]
    return [
        None if value and shown is None else _time(shown)
        for value, shown in zip(values, seen, strict=True)
    ]


def _time(value: bytes | None) -> Times:
    if value is None or len(value) < HEADER.itemsize:
        return NEVER, NEVER
    head = headers([value])[0]
    return int(head["event_us"]), int(head["created_us"])


def _any_later(times: Times, newest: Times) -> bool:
    """Whether a value came after all rows of the table.

    It is of a push, or of a run whose watermark waits for rows that are not due.
    """
    return times[0] > newest[0] or times[1] > newest[1]


def _wrong(
    store: Generations, table: Table, entry: ViewEntry, rows: Changes, chosen: NDArray[np.bool_]
) -> tuple[list[bytes], int]:
    """Ids of chosen rows whose bytes differ in Redis, and how many have a later value there."""
    wrong: list[bytes] = []
    later = start = 0
    for batch in rows.batches():
        mask = chosen[start : start + batch.num_rows]
        start += batch.num_rows
        if mask.any():
            differing, newer = _differing(store, table, entry, batch.filter(pa.array(mask)))
            wrong += differing
            later += newer
    return wrong, later


def _differing(
    store: Generations, table: Table, entry: ViewEntry, batch: pa.RecordBatch
) -> tuple[list[bytes], int]:
    space, schema = store.keys(entry), Schema.of(table).sized(store.widths(entry))
    ids, expected = encoded(table, schema, space, batch)
    stored = dict(zip(ids, _values(store, entry, ids), strict=True))
    # A value that was written before a field came at the end has the bytes of the fields of then.
    older = [
        s for s in store.schemas() if s != schema and s.fields == schema.fields[: len(s.fields)]
    ]
    # Those that aren't there are among the missing.
    differing = {
        name: value
        for name, value in zip(ids, expected, strict=True)
        if stored[name] not in (None, value)
    }
    for before in older:
        again = dict(zip(*encoded(table, before, space, batch), strict=True))
        differing = {
            name: value for name, value in differing.items() if stored[name] != again[name]
        }
    # One of more fields is right where the first are: the contract lost its last ones, or this
    # process is from before they came.
    longer = {
        s.hash: s
        for s in store.schemas()
        if s != schema and s.fields[: len(schema.fields)] == schema.fields
    }
    differing = {
        n: value
        for n, value in differing.items()
        if not _begins_with(longer, stored[n], schema, value)
    }
    wrong = [name for name, value in differing.items() if _time(stored[name]) <= _time(value)]
    return wrong, len(differing) - len(wrong)


def _begins_with(
    longer: Mapping[int, Schema], stored: bytes | None, schema: Schema, value: bytes
) -> bool:
    """Whether a value of a longer schema has the header and first fields of one of `schema`."""
    if stored is None or len(stored) < HEADER.itemsize:
        return False
    more, plain = headers([stored, value])
    compared = ("mark", "fingerprint", "event_us", "created_us")
    if int(more["schema"]) not in longer or any(more[name] != plain[name] for name in compared):
        return False
    if plain["mark"] & TOMBSTONE:
        return True
    names = [f.name for f in schema.fields]
    decoded = decode(longer[int(more["schema"])], [stored], names), decode(schema, [value], names)
    same = [
        canonical(f, decoded[0].columns[f.name]).tobytes()
        == canonical(f, decoded[1].columns[f.name]).tobytes()
        and decoded[0].null[f.name][0] == decoded[1].null[f.name][0]
        for f in schema.fields
    ]
    return bool(decoded[0].readable[0]) and all(same)


def _values(store: Generations, entry: ViewEntry, ids: Sequence[bytes]) -> list[bytes | None]:
    """What readers see of some ids, as load 0 would have written it; None where there is none.

    A damaged value is given as it is.
    """
    values = _stored(store, entry, ids)
    return [value and _visible(value, entry.live) for value in values]


def _stored(store: Generations, entry: ViewEntry, ids: Sequence[bytes]) -> list[bytes | None]:
    values: list[bytes | None] = []
    for part in chunks(store.keys(entry).of(ids), 1_000):
        with store.connection.pipeline(transaction=False) as pipe:
            for key in part:
                pipe.get(cast("str", key))
            values += pipe.execute()
    return values


def _visible(value: bytes, live: int) -> bytes | None:
    try:
        shown = visible(value, live)
    except ValueError:
        return value
    return shown and with_load(shown, 0)
