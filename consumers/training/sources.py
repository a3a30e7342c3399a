"""A feature view as a stream joins it: keys and times in memory, features on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from consumers.training.inputs import micros
from consumers.training.spill import Spill
from vidtopics.contracts import CREATED_TIME, EVENT_TIME, Table
from vidtopics.joins import History
from vidtopics.tables import Tables
from vidtopics.tables.joined import ttl_us
from vidtopics.tables.scans import scan
from vidtopics.tables.whole import readable, whole

VERSIONS = b"vidtopics.versions"


@dataclass(frozen=True, eq=False)
class Source:
    """One version of a view's table, all rows that it ever had.

    Attributes:
        table: the contract: key, features, TTL.
        history: keys and times, 8 bytes a row and column.
        features: the features, null in a tombstone.
        pin: table id and version that were read: the same give the same rows (a later one than asked for where `whole` found its files gone).
    """

    table: Table
    history: History
    features: Spill
    pin: Mapping[str, str | int]

    @classmethod
    def of(cls, tables: Tables, table: Table, version: int | None, folder: Path) -> Source:
        """The latest version, or that one; its features lie in `folder`. TableError where there is none, or a data file is gone or damaged."""
        delta = whole(tables.delta(table, version=version))
        rows = scan(delta)
        narrow = [*table.key, EVENT_TIME, CREATED_TIME]
        wide = [c.name for c in table.values]
        held: list[pa.RecordBatch] = []

        def features() -> Iterator[pa.RecordBatch]:
            with readable(table, delta.version()):
                for batch in rows.to_batches(columns=[*narrow, *wide], fragment_readahead=1):
                    held.append(batch.select(narrow))
                    yield batch.select(wide)

        spill = Spill(_schema(rows, wide), features(), folder)
        keys = pa.Table.from_batches(held, _schema(rows, narrow)).combine_chunks()
        times = (micros(keys, name, where=table.name) for name in (EVENT_TIME, CREATED_TIME))
        pin: dict[str, str | int] = {
            "table_id": str(delta.metadata().id),
            "version": delta.version(),
        }
        return cls(table, History(keys.select(list(table.key)), *times), spill, pin)

    def join(
        self, keys: pa.Table, times_us: NDArray[np.int64], *, known_by: bool
    ) -> NDArray[np.int64]:
        """int64[N]: the row of `features` that held at each time (and was known by then), -1 where there is none."""
        known_us = times_us if known_by else None
        return self.history.matches(keys, times_us, known_by=known_us, ttl_us=ttl_us(self.table))


def versions_of(sources: list[Source]) -> dict[bytes, bytes]:
    """What a result says of its sources in its schema's metadata."""
    return {VERSIONS: json.dumps({s.table.name: dict(s.pin) for s in sources}).encode()}


def _schema(rows: ds.Dataset, names: list[str]) -> pa.Schema:
    return pa.schema([rows.schema.field(name) for name in names])
