"""What a training frame is made of, read from one release and ordered by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.contracts import CLICKS, CREATED_TIME, EVENT_TIME, IMPRESSIONS, SERVICES, Table
from vidtopics.joins import matches
from vidtopics.tables import Tables
from vidtopics.tables.joined import ttl_us
from vidtopics.timestamps import microseconds

SERVICE = "training_v1"


@dataclass(frozen=True, eq=False)
class ViewRows:
    """The rows of a feature view: M keys, times and values.

    Attributes:
        keys: the key's columns.
        event_us: int64[M], from when each row holds.
        created_us: int64[M], from when it was known.
        values: the features; all null in a tombstone.
        ttl_us: the view's TTL, 0: none.
    """

    keys: pa.Table
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    values: pa.Table
    ttl_us: int = 0

    @classmethod
    def of(cls, table: Table, rows: pa.Table) -> ViewRows:
        """From rows with the columns of a contract."""
        event, created = (
            microseconds(rows[name], f"{table.name}, {name}") for name in (EVENT_TIME, CREATED_TIME)
        )
        values = rows.select([c.name for c in table.values]).combine_chunks()
        return cls(rows.select(list(table.key)), event, created, values, ttl_us(table))

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
        )

    @property
    def instants(self) -> NDArray[np.int64]:
        """The times, ascending, at which :meth:`known` can change."""
        seen = np.maximum(self.event_us, self.created_us)
        return np.unique(
            np.concatenate([seen, self.event_us + self.ttl_us + 1]) if self.ttl_us else seen
        )


@dataclass(frozen=True, eq=False)
class Inputs:
    """The log and the feature views that a frame joins.

    Attributes:
        impressions: event_id, user_id, video_id, event_us, created_us; frames keep its order.
        clicks: event_id (the impression's), event_us, created_us.
        views: the feature views of `training_v1` by name.
    """

    impressions: pa.Table
    clicks: pa.Table
    views: Mapping[str, ViewRows]


def read(tables: Tables, versions: Mapping[str, int]) -> Inputs:
    """The inputs at a release's versions, ordered by event time and id, also after compaction.

    Raises:
        TableError: a table is missing or foreign.
    """
    views = {
        t.name: ViewRows.of(t, tables.read(t, version=versions.get(t.name)))
        for t in SERVICES[SERVICE]
    }
    return Inputs(
        _log(tables, IMPRESSIONS, versions, "event_id", "user_id", "video_id"),
        _log(tables, CLICKS, versions, "event_id"),
        views,
    )


def _log(tables: Tables, table: Table, versions: Mapping[str, int], *names: str) -> pa.Table:
    rows = tables.read(
        table, columns=[*names, EVENT_TIME, CREATED_TIME], version=versions.get(table.name)
    )
    plain = rows.select(list(names))
    for name, time in (("event_us", EVENT_TIME), ("created_us", CREATED_TIME)):
        plain = plain.append_column(name, rows[time].cast(pa.int64()))
    return plain.sort_by([("event_us", "ascending"), ("event_id", "ascending")]).combine_chunks()
