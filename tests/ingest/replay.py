"""Deliveries one after the other into tables in memory, each judged against those before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from small_delivery import Deliver, Staged

from vidtopics.contracts import INPUTS, VALUE_HASH, VIDEO_TAGS, Table
from vidtopics.ingest import Source, stage
from vidtopics.ingest.known import Known
from vidtopics.settings import IngestSettings
from vidtopics.tables.schemas import arrow_schema

Row = dict[str, Any]


@dataclass
class Replay:
    """The input tables as deliveries fill them; staged rows are appended as they are."""

    deliver: Deliver
    tables: dict[str, pa.Table] = field(
        default_factory=lambda: {t.name: arrow_schema(t).empty_table() for t in INPUTS}
    )

    def known(self) -> Known:
        return Known({name: ds.dataset(rows) for name, rows in self.tables.items()})

    def __call__(
        self,
        at: datetime,
        prefix: str = "",
        limits: Mapping[str, float] | None = None,
        **files: Any,
    ) -> Staged:
        """Stages a delivery at a time and takes its rows in."""
        into: Path = self.deliver.root / f"replayed-{next(self.deliver.numbers)}"
        settings = IngestSettings(**{"max_rejected_share": 1.0, **(limits or {})})
        source = Source("folder", self.deliver.folder(**files))
        delivery = stage(
            source, into, settings, self.known(), delivered_at=at, event_id_prefix=prefix
        )
        for table in INPUTS:
            rows = _with_hash(table, pq.read_table(delivery.staged[table.name]))
            self.tables[table.name] = pa.concat_tables(
                [self.tables[table.name], rows], promote_options="default"
            )
        rows = {name: pq.read_table(path).to_pylist() for name, path in delivery.staged.items()}
        return Staged(delivery, rows)

    def rows(self, table: Table) -> list[Row]:
        """All rows of a table in the order of their times."""
        rows: list[Row] = self.tables[table.name].to_pylist()
        return sorted(rows, key=lambda r: (r["event_timestamp"], r["created_timestamp"]))

    def as_of(self, table: Table, at: datetime, known_by: datetime) -> list[Row]:
        """The rows of a history that hold at a time, as known by another."""
        latest: dict[tuple[Any, ...], Row] = {}
        for row in self.rows(table):
            if row["event_timestamp"] <= at and row["created_timestamp"] <= known_by:
                latest[tuple(row[name] for name in table.key)] = row
        return [row for row in latest.values() if row[VALUE_HASH] != 0]

    def tags(self, at: datetime, known_by: datetime, video: str = "v1") -> set[str]:
        """The tags of a video at a time, as known by another."""
        rows = self.as_of(VIDEO_TAGS, at, known_by)
        return {row["tag"] for row in rows if row["video_id"] == video}


def _with_hash(table: Table, rows: pa.Table) -> pa.Table:
    """The rows as publishing writes them: 0 where every value is null (a tombstone), else 1."""
    if table.kind != "history":
        return rows
    plain = rows.to_pylist()
    hashes = [int(any(row[c.name] is not None for c in table.values)) for row in plain]
    return rows.append_column(VALUE_HASH, pa.array(hashes, pa.int64())).cast(arrow_schema(table))
