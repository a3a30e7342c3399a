"""A feature view as a stream joins it: keys and times in memory, features on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from consumers.training.spill import Spill
from vidtopics.contracts import CREATED_TIME, EVENT_TIME, Table
from vidtopics.joins import History, Serving
from vidtopics.tables import FOREVER, Tables
from vidtopics.tables.joined import rules_of, ttl_us
from vidtopics.tables.pins import Pin, Snapshot, beyond_pin, reopen, rows_seen, same_rules
from vidtopics.tables.row_groups import read_at_once, row_groups
from vidtopics.tables.scans import scan
from vidtopics.tables.whole import readable, whole
from vidtopics.timestamps import microseconds

Micros = NDArray[np.int64]


@dataclass(frozen=True)
class Known:
    """What a join may know: all, what was committed by then, or what could have been served.

    `store`: that served it, as the load log names it, or `any`; empty where committed is enough.
    `servings`: when the rows of each view were served there.
    """

    known_by: bool = True
    store: str = ""
    servings: Mapping[str, Serving] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class StreamedView:
    """One version of a view's table, all rows that it ever had.

    Attributes:
        table: the contract: key, features, TTL.
        history: keys and times, 8 bytes a row and column.
        places: int64[M], where in `features` the rows of `history` lie.
        features: the features, null in a tombstone.
        pin: what names these rows (of a later version than asked for where `whole` found its files
            gone).
        until_us: the spine's latest time that the rows are complete for.
        serving: when rows were served, where that counts.
    """

    table: Table
    history: History
    places: NDArray[np.int64]
    features: Spill
    pin: Pin
    until_us: int = FOREVER
    serving: Serving | None = None

    @classmethod
    def latest(
        cls, tables: Tables, table: Table, version: int | None, folder: Path, known: Known
    ) -> StreamedView:
        """The latest version, or that one; its features lie in `folder`.

        Raises:
            TableError: there is none, or a data file is gone or damaged.
        """
        delta = whole(tables.delta(table, version=version))
        keys, event_us, created_us, features = _read(delta, table, folder)
        rules = rules_of(delta, table, known_by=known.known_by, served=known.store)
        pin = Pin.of(Snapshot.of_delta(delta), event_us, created_us, FOREVER, rules)
        history = History(keys, event_us, created_us)
        places, serving = np.arange(len(event_us)), known.servings.get(table.name)
        return cls(table, history, places, features, pin, serving=serving)

    @classmethod
    def pinned(
        cls, tables: Tables, table: Table, pin: Pin, folder: Path, known: Known
    ) -> StreamedView:
        """The rows that an earlier result was made of; its features lie in `folder`.

        Raises:
            TableError: as of :func:`vidtopics.tables.pins.reopen` and `rows_seen`; the TTL, a
                feature's type or `known_by` is another than the result's.
        """
        where = f"view {table.name}"
        delta, gone = reopen(tables.delta(table), pin, where)
        rules = rules_of(delta, table, known_by=known.known_by, served=known.store)
        same_rules(pin, rules, where)
        keys, event_us, created_us, features = _read(delta, table, folder)
        seen = np.ones(len(event_us), np.bool_)
        if gone:
            seen = rows_seen(event_us, created_us, pin, delta.version(), where)
        history = History(keys.filter(pa.array(seen)), event_us[seen], created_us[seen])
        until_us = pin.until_us if gone else FOREVER
        serving = known.servings.get(table.name)
        return cls(table, history, np.flatnonzero(seen), features, pin, until_us, serving)

    def join(
        self, keys: pa.Table, times_us: NDArray[np.int64], *, known_by: bool
    ) -> NDArray[np.int64]:
        """int64[N]: the row of `features` that held at each time, -1 where there is none.

        `known_by`: and that was known by then. TableError where a time lies after `until_us`.
        """
        latest_us = int(times_us.max(initial=-FOREVER))
        if latest_us > self.until_us:
            raise beyond_pin(self.pin, latest_us, f"view {self.table.name}")
        known_us = times_us if known_by else None
        at = self.history.matches(
            keys, times_us, known_by=known_us, ttl_us=ttl_us(self.table), served=self.serving
        )
        return np.where(at < 0, -1, self.places[at]) if len(self.places) else at


def _read(delta: DeltaTable, table: Table, folder: Path) -> tuple[pa.Table, Micros, Micros, Spill]:
    """Keys, event and created times of a snapshot's rows, and their features on disk."""
    rows = scan(delta)
    narrow = [*table.key, EVENT_TIME, CREATED_TIME]
    wide = {c.name: c.name for c in table.values}
    schema = pa.schema([rows.schema.field(name) for name in wide])
    with readable(table, delta.version()):
        keys = rows.to_table(columns=narrow).combine_chunks()
        groups = list(row_groups(rows))
        spill = Spill(schema, partial(read_at_once, groups, schema, wide), folder)
    event_us, created_us = (
        microseconds(keys[name], f"{table.name}, {name}") for name in (EVENT_TIME, CREATED_TIME)
    )
    return keys.select(list(table.key)), event_us, created_us, spill
