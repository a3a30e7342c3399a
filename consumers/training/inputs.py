"""What a training frame is made of, read from one release and ordered by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import (
    CLICKS,
    CREATED_TIME,
    EVENT_TIME,
    IMPRESSIONS,
    SERVICES,
    TOPICS,
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    USER_STATISTICS,
    USER_TOPICS,
    VIDEO_CATALOG,
    Table,
)
from vidtopics.joins import Serving, matches
from vidtopics.joins.serving import NEVER_US
from vidtopics.releases.served import ANY, servings
from vidtopics.tables import Tables
from vidtopics.tables.joined import ttl_us
from vidtopics.tables.schemas import arrow_schema
from vidtopics.timestamps import microseconds

SERVICE = "training_v1"
KnownAs = Literal["as known", "as served"]
"""What stands beside an impression: all that was committed by then, replayed from the log to the
impression's time; or the rows that a live release had then."""


USER_VIEWS = (USER_STATISTICS, USER_TOPICS, USER_RECENT_CLICKS, USER_RECENT_SKIPS)


@dataclass(frozen=True, eq=False)
class ViewRows:
    """The rows of a feature view: M keys, times and values.

    Attributes:
        keys: the key's columns.
        event_us: int64[M], from when each row holds.
        created_us: int64[M], from when it was known.
        values: the features; all null in a tombstone.
        ttl_us: the view's TTL, 0: none.
        serving: when rows were served; None: a row is known from its created time on.
    """

    keys: pa.Table
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    values: pa.Table
    ttl_us: int = 0
    serving: Serving | None = None

    @classmethod
    def of(cls, table: Table, rows: pa.Table, serving: Serving | None = None) -> ViewRows:
        """From rows with the columns of a contract."""
        event, created = (
            microseconds(rows[name], f"{table.name}, {name}") for name in (EVENT_TIME, CREATED_TIME)
        )
        values = rows.select([c.name for c in table.values]).combine_chunks()
        return cls(rows.select(list(table.key)), event, created, values, ttl_us(table), serving)

    def known(self, keys: pa.Table, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[N]: the row that held at each time and was known by then; -1: none."""
        return matches(
            keys,
            times,
            self.keys,
            self.event_us,
            self.created_us,
            known_by=times,
            ttl_us=self.ttl_us,
            served=self.serving,
        )

    def changes(self, ids: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places in `ids` and times at which :meth:`known` can change; the key is one column.

        >>> keys, times = pa.table({"video_id": ["b", "z"]}), np.array([3, 4])
        >>> rows = ViewRows(keys, times, times + 2, pa.table({"n": [1, 2]}))
        >>> rows.changes(pa.array(["a", "b"]))
        (array([1]), array([5]))
        """
        place = pc.index_in(self.keys[0], value_set=ids)
        of_ids = pc.is_valid(place).to_numpy()
        key = place.filter(pa.array(of_ids)).to_numpy().astype(np.int64)
        event, created = self.event_us[of_ids], self.created_us[of_ids]
        if self.serving is None:
            return key, np.maximum(event, created)
        keys, times = [], []
        for start_us, stretch in zip(self.serving.starts_us, self.serving.stretches, strict=True):
            served = stretch.served_us(created)
            keys += [key[served < NEVER_US], np.arange(len(ids))]
            times += [np.maximum(event, served)[served < NEVER_US], np.full(len(ids), start_us)]
        return np.concatenate([*keys, key[:0]]), np.concatenate([*times, event[:0]])


@dataclass(frozen=True, eq=False)
class Inputs:
    """The log and the tables that a frame joins.

    Attributes:
        impressions: event_id, user_id, video_id, request_id, position, event_us, created_us;
            frames keep its order.
        clicks: event_id (the impression's), watch_seconds, event_us, created_us.
        views: the feature views of entity `video` by name.
        topics: the rows of table `topics`.
        catalogue: the rows of `video_catalog`.
        users: the feature views of entity `user`, for frames as served; as known they are replayed.
    """

    impressions: pa.Table
    clicks: pa.Table
    views: Mapping[str, ViewRows]
    topics: ViewRows
    catalogue: ViewRows
    users: Mapping[str, ViewRows] = field(default_factory=dict)

    @property
    def known(self) -> KnownAs:
        """Which of both ways to know the frame has."""
        return "as served" if self.users else "as known"

    @classmethod
    def of(
        cls, impressions: Mapping[str, Any], clicks: Mapping[str, Any], **views: ViewRows
    ) -> Inputs:
        """From columns and some tables' rows by name; what isn't given is null or empty."""
        empty = {
            table.name: ViewRows.of(table, arrow_schema(table).empty_table())
            for table in (*SERVICES[SERVICE], TOPICS, VIDEO_CATALOG)
        }
        tables = empty | views
        topics, catalogue = tables.pop(TOPICS.name), tables.pop(VIDEO_CATALOG.name)
        shown, clicked = (
            _table(columns, [*names, *_TIMES])
            for columns, names in ((impressions, _SHOWN), (clicks, _CLICKED))
        )
        return cls(shown, clicked, tables, topics, catalogue)


def _table(columns: Mapping[str, Any], fields: list[pa.Field]) -> pa.Table:
    n = len(columns["event_id"])
    return pa.table({f.name: pa.array(columns.get(f.name, [None] * n), f.type) for f in fields})


_SHOWN = [pa.field(n, pa.string()) for n in ("event_id", "user_id", "video_id", "request_id")]
_SHOWN.append(pa.field("position", pa.int32()))
_CLICKED = [pa.field("event_id", pa.string()), pa.field("watch_seconds", pa.float32())]
_TIMES = [pa.field(n, pa.int64()) for n in ("event_us", "created_us")]


def read(
    tables: Tables,
    versions: Mapping[str, int],
    *,
    known: KnownAs = "as known",
    store: str = ANY,
) -> Inputs:
    """The inputs at a release's versions, ordered by event time and id, also after compaction.

    Args:
        tables: of the home.
        versions: of each table.
        known: which of both ways to know.
        store: that served, as the load log names it; any: whichever had a release first.

    Raises:
        TableError: a table is missing or foreign; as served, nothing ever was.
    """
    videos = SERVICES[SERVICE]
    users = USER_VIEWS if known == "as served" else ()
    served = servings(tables, (*videos, *users), store) if users else {}
    rows = {
        t.name: ViewRows.of(t, tables.read(t, version=versions.get(t.name)), served.get(t.name))
        for t in (*videos, *users, TOPICS, VIDEO_CATALOG)
    }
    topics, catalogue = rows.pop(TOPICS.name), rows.pop(VIDEO_CATALOG.name)
    return Inputs(
        _log(tables, IMPRESSIONS, versions, *(f.name for f in _SHOWN)),
        _log(tables, CLICKS, versions, *(f.name for f in _CLICKED)),
        {t.name: rows[t.name] for t in videos},
        topics,
        catalogue,
        {t.name: rows[t.name] for t in users},
    )


def _log(tables: Tables, table: Table, versions: Mapping[str, int], *names: str) -> pa.Table:
    rows = tables.read(
        table, columns=[*names, EVENT_TIME, CREATED_TIME], version=versions.get(table.name)
    )
    plain = rows.select(list(names))
    for name, time in (("event_us", EVENT_TIME), ("created_us", CREATED_TIME)):
        plain = plain.append_column(name, rows[time].cast(pa.int64()))
    return plain.sort_by([("event_us", "ascending"), ("event_id", "ascending")]).combine_chunks()
