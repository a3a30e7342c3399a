"""The tables of one release behind the reads of the online client: what a request would have got.

Values come straight from Arrow, not through the encoder of the online store: what that gets wrong,
a replay must see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consumers.parity.rows import as_read
from vidtopics.contracts import (
    CATALOGUE,
    CREATED_TIME,
    EVENT_TIME,
    PARENT,
    SERVICES,
    TOPIC,
    TOPIC_QUEUES,
    VALUE_HASH,
    VIEWS,
)
from vidtopics.layout import Schema, queue_name
from vidtopics.materialization.structures import global_ctr
from vidtopics.online import Catalogue, Features, Status
from vidtopics.tables import Tables
from vidtopics.tables.values import TOMBSTONE
from vidtopics.timestamps import microseconds


@dataclass(frozen=True, eq=False)
class ReleaseStore:
    """Reads of a release; `versions` are those of its tables."""

    tables: Tables
    versions: Mapping[str, int]

    def snapshot(self) -> ReleaseStore:
        """Itself: a release doesn't change."""
        return self

    def directory(self) -> ReleaseStore:
        """Itself: it knows its views."""
        return self

    @property
    def views(self) -> frozenset[str]:
        """The views that the release has."""
        return frozenset(VIEWS) & self.versions.keys()

    def read(self, view: str, ids: Sequence[str]) -> Features:
        """As :meth:`vidtopics.online.OnlineClient.read`; the TTL of a view isn't judged."""
        table = VIEWS[view]
        rows, key = self._latest(view), table.key[0]
        at = pc.index_in(pa.array(ids, pa.string()), value_set=rows[key].combine_chunks())
        exists = at.is_valid().to_numpy(zero_copy_only=False)
        taken = rows.take(at.drop_null()).combine_chunks()
        ended = taken[VALUE_HASH].to_numpy() == TOMBSTONE
        status = np.full(len(ids), Status.NOT_FOUND, np.uint8)
        status[exists] = np.where(ended, np.uint8(Status.NULL), np.uint8(Status.PRESENT))
        times = np.zeros((2, len(ids)), np.int64)
        times[:, exists] = [microseconds(taken[name]) for name in (EVENT_TIME, CREATED_TIME)]
        present, alive = status == Status.PRESENT, taken.filter(pa.array(~ended)).combine_chunks()
        columns, null = {}, {}
        for field in Schema.of(table).fields:
            values, is_null = field.empty(len(ids)), np.ones(len(ids), bool)
            if len(alive):
                column = alive[field.name].combine_chunks()
                values[present] = as_read(field, column)
                is_null[present] = column.is_null().to_numpy(zero_copy_only=False)
            columns[field.name], null[field.name] = values, is_null
        return Features(status, times[0], times[1], columns, null)

    def read_entities(
        self, views: Sequence[str] | str, ids: Mapping[str, Sequence[str]]
    ) -> dict[str, Features]:
        """As :meth:`vidtopics.online.OnlineClient.read_entities`."""
        if isinstance(views, str):
            views = [table.name for table in SERVICES[views]]
        entities = {name: view.entity for name, table in VIEWS.items() if (view := table.view)}
        return {view: self.read(view, ids[entities[view]]) for view in views}

    def queues(
        self,
        names: Sequence[int | str],
        *,
        epoch: int,
        limit: int | Sequence[int],
        live: bool = False,
    ) -> list[list[str]]:
        """As :meth:`vidtopics.online.OnlineClient.queues`; a release knows the batch's alone."""
        if epoch != self.catalogue().epoch:
            return [[] for _ in names]
        limits = [limit] * len(names) if isinstance(limit, int) else limit
        pairs = zip(names, limits, strict=True)
        return [self._lists.get(str(name), [])[:end] for name, end in pairs]

    def catalogue(self) -> Catalogue:
        """As :meth:`vidtopics.online.OnlineClient.catalogue`."""
        return self._catalogue

    @cached_property
    def _catalogue(self) -> Catalogue:
        rows = self._queue_rows
        clicks = rows.group_by(["queue_level", "topic_id"])
        order = [("queue_clicks_sum", "descending"), ("topic_id", "ascending")]
        by_clicks = clicks.aggregate([("queue_clicks", "sum")]).sort_by(order)
        topics, parents = (
            by_clicks.filter(pc.equal(by_clicks["queue_level"], level)) for level in (TOPIC, PARENT)
        )
        popular = rows.filter(pc.equal(rows["queue_level"], CATALOGUE))
        epoch = pc.max(rows["topic_epoch"]).as_py() or 0
        return Catalogue(
            epoch,
            tuple(topics["topic_id"].to_pylist()),
            tuple(parents["topic_id"].to_pylist()),
            tuple(round(clicks, 3) for clicks in parents["queue_clicks_sum"].to_pylist()),
            tuple(float(f"{clicks:.4g}") for clicks in popular["queue_clicks"].to_pylist()),
            global_ctr(self.tables, self.versions[TOPIC_QUEUES.name]),
        )

    @cached_property
    def _queue_rows(self) -> pa.Table:
        rows = self.tables.read(TOPIC_QUEUES, version=self.versions[TOPIC_QUEUES.name])
        return rows.sort_by("queue_position")

    @cached_property
    def _lists(self) -> dict[str, list[str]]:
        names = ("queue_level", "topic_id", "fresh", "video_id")
        lists: dict[str, list[str]] = {}
        rows = zip(*(self._queue_rows[name].to_pylist() for name in names), strict=True)
        for level, topic, fresh, video in rows:
            lists.setdefault(queue_name(level, topic, fresh=fresh), []).append(video)
        return lists

    def _latest(self, view: str) -> pa.Table:
        """The row of each entity that holds last and is known last, as the online store keeps."""
        if view not in self._views:
            table = VIEWS[view]
            rows = self.tables.read(table, version=self.versions[view])
            order = [(EVENT_TIME, "ascending"), (CREATED_TIME, "ascending")]
            rows = rows.sort_by(order).combine_chunks()
            keys = rows[table.key[0]].to_pylist()
            last = {key: place for place, key in enumerate(keys)}
            self._views[view] = rows.take(pa.array(list(last.values()), pa.int64()))
        return self._views[view]

    @cached_property
    def _views(self) -> dict[str, pa.Table]:
        return {}
