"""A small delivery in the folder format, and a way to stage it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from vidtopics.contracts import INPUTS, VIDEO_CATALOG
from vidtopics.ingest import Delivery, FileReport, Source, stage
from vidtopics.ingest.known import Known
from vidtopics.settings import IngestSettings
from vidtopics.tables.schemas import arrow_schema

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

VIDEOS = "video_id,title,cover,primary_class,secondary_class,tags,published_at\n"
IMPRESSIONS = "user_id,video_id,event_timestamp,clicked\n"
TAGS = "video_id,tag,event_timestamp\n"
GOOD = {
    "videos": VIDEOS
    + "v1,Slow motion,,sport,sport/golf,golf|slow,2026-01-01\nv2,Bread,,food,food/bread,,\n",
    "impressions": IMPRESSIONS + "u1,v1,2026-02-01T10:00:00Z,1\nu2,v2,2026-02-01T11:00:00Z,0\n",
}


def known(*videos: tuple[str, datetime], **rows: list[dict[str, Any]]) -> Known:
    """What tables hold with these videos (id, published) in the catalogue, and `rows` of others."""
    values = {"title": "", "cover": "", "primary_classes": [], "secondary_classes": []}
    catalogue = [
        {**values, "video_id": v, "published_at": t, "content_hash": "", "value_hash": 1}
        | {"event_timestamp": t, "created_timestamp": t}
        for v, t in videos
    ]
    rows = {VIDEO_CATALOG.name: catalogue, **rows}
    return Known(
        {
            table.name: ds.dataset(
                pa.Table.from_pylist(rows.get(table.name, []), arrow_schema(table))
            )
            for table in INPUTS
        }
    )


@dataclass(frozen=True)
class Staged:
    """A delivery with its staged rows read back."""

    delivery: Delivery
    tables: Mapping[str, list[dict[str, Any]]]

    def file(self, name: str) -> FileReport:
        return next(file for file in self.delivery.files if file.name == name)

    def rejected(self, table: str) -> list[tuple[int, str]]:
        return [(row["row"], row["reason"]) for row in self.tables[f"{table}_rejected"]]


@dataclass
class Deliver:
    """Writes the files of a delivery (text or bytes as CSV, Arrow as Parquet) and stages it."""

    root: Path
    numbers: Any = field(default_factory=count)

    def folder(self, **files: str | bytes | pa.Table) -> Path:
        folder = self.root / f"delivery-{next(self.numbers)}"
        folder.mkdir()
        for name, content in {**GOOD, **files}.items():
            if isinstance(content, pa.Table):
                pq.write_table(content, folder / f"{name}.parquet")
            else:
                data = content.encode() if isinstance(content, str) else content
                (folder / f"{name}.csv").write_bytes(data)
        return folder

    def stage(self, folder: Path, known: Known | None = None, **settings: Any) -> Staged:
        limits = IngestSettings(**{"max_rejected_share": 1.0, "max_reused_share": 1.0, **settings})
        into = self.root / f"staged-{next(self.numbers)}"
        delivery = stage(Source("folder", folder), into, limits, known, delivered_at=NOW)
        return Staged(
            delivery,
            {name: pq.read_table(path).to_pylist() for name, path in delivery.staged.items()},
        )

    def __call__(self, *, known: Known | None = None, **files: str | bytes | pa.Table) -> Staged:
        return self.stage(self.folder(**files), known)
