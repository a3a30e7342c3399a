"""A delivery from its files to the input tables."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from vidtopics.contracts import INPUTS, TABLES, VIDEO_CATALOG
from vidtopics.ingest.delivery import FileReport
from vidtopics.ingest.source import Source
from vidtopics.ingest.staging import stage
from vidtopics.settings import IngestSettings, digest
from vidtopics.tables import Commit, Publication, Tables
from vidtopics.times import micros

JOB = "ingest"


@dataclass(frozen=True)
class Ingested:
    """What a delivery brought: a report per file, and what each table took."""

    files: Sequence[FileReport]
    publications: Sequence[Publication]


def ingest(
    tables: Tables,
    source: Source,
    settings: IngestSettings,
    *,
    progress: Callable[[str], None] = lambda text: None,
) -> Ingested:
    """Read a delivery and publish its good rows; what was refused goes to `<table>_rejected`.

    A delivery that comes again adds nothing. InputError, and nothing is published, where a file has
    more refused rows than `settings.max_rejected_share`.
    """
    tables.home.mkdir(parents=True, exist_ok=True)
    delivered_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(dir=tables.home, prefix="staging-") as folder:
        progress("reading")
        delivery = stage(
            source,
            Path(folder) / "delivery",
            settings,
            known_videos(tables),
            delivered_at=delivered_at,
        )
        files = digest(sorted(f.file_hash for f in delivery.files))
        us = micros(delivered_at)
        commit = Commit(JOB, us, us, live=True, settings=digest(settings), content=files)
        published = []
        # The catalogue first: whoever reads in between finds no event of a video that isn't there.
        for name in [t.name for t in INPUTS] + [f"{t.name}_rejected" for t in INPUTS]:
            progress(name)
            table = TABLES[name]
            rows = ds.dataset(delivery.staged[name])
            published.append(tables.publish(table, rows, commit, changes=table.kind == "history"))
    return Ingested(delivery.files, published)


def known_videos(tables: Tables) -> pa.Table:
    """`video_id` and `published_at` of every video that was ever delivered, once each."""
    rows = tables.read(VIDEO_CATALOG, columns=["video_id", "published_at"])
    return (
        rows.group_by("video_id")
        .aggregate([("published_at", "min")])
        .rename_columns(["video_id", "published_at"])
    )
