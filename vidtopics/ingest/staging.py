"""A delivery from its files to staged rows of the input tables."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    INPUTS,
    VIDEO_CATALOG,
    VIDEO_TAGS,
    Table,
    rejected,
)
from vidtopics.errors import InputError, explain
from vidtopics.ingest import event_ids, folder, log, movielens, tag_history, tags, videos
from vidtopics.ingest.delivery import Delivery, refuse_excess
from vidtopics.ingest.known import Known
from vidtopics.ingest.source import Source
from vidtopics.ingest.workspace import Workspace
from vidtopics.settings import IngestSettings, digest

_FORMATS = {"folder": folder, "movielens": movielens}

# Rows of the catalogue's and the tags' files that bring nothing new; those of the log are entered
# where they are judged.
_KNOWN_ROWS = """
    INSERT INTO known_rows
    SELECT file, row FROM video_rows SEMI JOIN videos_kept USING (video_id)
    ANTI JOIN videos_staged USING (video_id)
    ANTI JOIN (FROM tags_staged WHERE of_list) USING (video_id)
    ANTI JOIN (FROM issues WHERE dropped) USING (file, row);
    INSERT INTO known_rows
    SELECT file, row FROM tags_valid
    ANTI JOIN (SELECT video_id, tag AS folded_tag FROM tags_staged) USING (video_id, folded_tag)
    ANTI JOIN (FROM issues WHERE dropped) USING (file, row)
"""
# How many delivered values or events each table holds already.
_ALREADY_THERE = {
    VIDEO_CATALOG.name: "SELECT count(*) FROM videos_kept ANTI JOIN videos_staged USING (video_id)",
    VIDEO_TAGS.name: """SELECT count(*) FROM (
        SELECT video_id, tag FROM listed UNION SELECT video_id, tag FROM given
        UNION SELECT video_id, tag FROM withdrawn) ANTI JOIN tags_staged USING (video_id, tag)""",
    IMPRESSIONS.name: "SELECT count(*) FROM impressions_kept WHERE is_known",
    CLICKS.name: "SELECT count(*) FROM impressions_kept WHERE is_clicked AND is_click_known",
}


def stage(
    source: Source,
    into: Path,
    settings: IngestSettings,
    known: Known | None = None,
    *,
    delivered_at: datetime | None = None,
    event_id_prefix: str = "",
) -> Delivery:
    """Stages what is new in a delivery: one Parquet file per table of inputs and of refused rows.

    Rows have the contract's columns and both times. Memory stays bounded whatever the delivery's
    size.

    Args:
        source: the delivery.
        into: an empty directory, made if it is missing; if staging fails, it is empty again.
        settings: limits, and what counts as a click on MovieLens.
        known: what the tables hold already; None for nothing.
        delivered_at: the time of the delivery, now unless given; no row may be later.
        event_id_prefix: is put before each event_id of the log.

    Raises:
        InputError: a file can't be read or lacks a column, more of its rows than
            `max_rejected_share` are refused, or the log's event ids restart.
    """
    delivered_at = delivered_at or datetime.now(UTC)
    event_ids.check_prefix(event_id_prefix)
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise InputError(
            explain(str(into), expected="an empty directory", found="files", mend="empty it")
        )
    try:
        with Workspace(into, settings, delivered_at) as work:
            return _stage(work, source, known or Known(), delivered_at, event_id_prefix)
    except BaseException:
        shutil.rmtree(into)
        into.mkdir()
        raise


def _stage(
    work: Workspace, source: Source, known: Known, delivered_at: datetime, prefix: str
) -> Delivery:
    form = _FORMATS[source.kind]
    form.load(work, source)
    content = _content(work, source, prefix)
    before = known.before(content)
    videos.check(work, source.path, known, before)
    log.check(work, known, before, prefix)
    tags.check(work)
    refuse_excess(work.reports(), work.settings.max_rejected_share)
    videos.date(work, form.PUBLISHED)
    videos.stage(work)
    tag_history.stage(work, known)
    work.sql.execute(_KNOWN_ROWS)
    staged = [
        videos.write(work),
        tag_history.write(work),
        log.write_impressions(work),
        log.write_clicks(work),
    ]
    staged += [_write_rejected(work, table) for table in INPUTS]
    already_there = {name: work.number(query) for name, query in _ALREADY_THERE.items()}
    return Delivery(
        {path.stem: path for path in staged}, work.reports(), already_there, content, delivered_at
    )


def _content(work: Workspace, source: Source, prefix: str) -> str:
    hashes = [row[0] for row in work.sql.execute("SELECT file_hash FROM files").fetchall()]
    return content_digest(hashes, source, prefix)


def content_digest(file_hashes: Iterable[str], source: Source, prefix: str = "") -> str:
    """What is noted of a delivery with its commits: files that are read alike have the same."""
    return digest(sorted(file_hashes), prefix, *([source.fields] if source.renamed else []))


def _write_rejected(work: Workspace, table: Table) -> Path:
    rows = f"""SELECT *, delivered_at() AS event_timestamp, delivered_at() AS created_timestamp
        FROM issues JOIN files USING (file) WHERE target = '{table.name}'"""
    return work.write(rejected(table), rows, "file, row, reason")
