"""A delivery from its files to staged rows of the input tables."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from vidtopics.contracts import INPUTS, Table, rejected
from vidtopics.errors import InputError, explain
from vidtopics.ingest import folder, log, movielens, tags, videos
from vidtopics.ingest.delivery import Delivery, refuse_excess
from vidtopics.ingest.source import Source
from vidtopics.ingest.workspace import Workspace
from vidtopics.settings import IngestSettings

Known: TypeAlias = pa.Table | pa.RecordBatchReader

_FORMATS = {"folder": folder, "movielens": movielens}
_NOTHING = pa.schema(
    [("video_id", pa.string()), ("published_at", pa.timestamp("us", "UTC"))]
).empty_table()


def stage(
    source: Source,
    into: Path,
    settings: IngestSettings,
    known: Known | None = None,
    *,
    delivered_at: datetime | None = None,
) -> Delivery:
    """Stages a delivery as one Parquet file per input table and one per table of refused rows.

    Rows have the contract's columns and both times. Memory stays bounded whatever the delivery's
    size.

    Args:
        source: the delivery.
        into: an empty directory, made if it is missing; if staging fails, it is empty again.
        settings: limits, and what counts as a click on MovieLens.
        known: `video_id` and `published_at` of every video delivered before (of several rows of one video, the latest
            `published_at` counts); None if there is none.
        delivered_at: the time of the delivery, now unless given; no row may be later.

    Raises:
        InputError: a file can't be read, lacks a column, or has more refused rows than `max_rejected_share`.
    """
    delivered_at = delivered_at or datetime.now(UTC)
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise InputError(
            explain(str(into), expected="an empty directory", found="files", mend="empty it")
        )
    try:
        with Workspace(into, settings, delivered_at) as work:
            return _stage(work, source, known if known is not None else _NOTHING, delivered_at)
    except BaseException:
        shutil.rmtree(into)
        into.mkdir()
        raise


def _stage(work: Workspace, source: Source, known: Known, delivered_at: datetime) -> Delivery:
    form = _FORMATS[source.kind]
    work.copy(
        "known", known, "SELECT video_id, max(published_at) AS published_at", "GROUP BY video_id"
    )
    form.load(work, source.path)
    videos.check(work, source.path)
    work.sql.execute(
        "CREATE TABLE video_ids AS SELECT video_id FROM videos_kept UNION SELECT video_id FROM known"
    )
    log.check(work)
    tags.check(work)
    files = work.reports()
    refuse_excess(files, work.settings.max_rejected_share)
    videos.date(work, form.PUBLISHED)
    staged = [
        videos.write(work),
        tags.write(work),
        log.write_impressions(work),
        log.write_clicks(work),
    ]
    staged += [_write_rejected(work, table) for table in INPUTS]
    return Delivery({path.stem: path for path in staged}, files, delivered_at)


def _write_rejected(work: Workspace, table: Table) -> Path:
    rows = f"""SELECT *, delivered_at() AS event_timestamp, delivered_at() AS created_timestamp
        FROM issues JOIN files USING (file) WHERE target = '{table.name}'"""
    return work.write(rejected(table), rows, "file, row, reason")
