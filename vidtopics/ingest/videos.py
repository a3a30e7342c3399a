"""Rows of the catalogue: checked, with their covers looked at, and timed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from vidtopics.contracts import VIDEO_CATALOG
from vidtopics.ingest.covers import Cover, examine
from vidtopics.ingest.readers import Columns
from vidtopics.ingest.rules import Rule, identifier, time
from vidtopics.ingest.workspace import Workspace

COLUMNS = Columns(
    ["video_id", "title", "cover", "primary_class", "secondary_class", "tags", "published_at"],
    ["removed_at"],
)

_PARSED = {
    "published_at_time": "instant(published_at)",
    "removed_at_time": "instant(removed_at)",
    "primary_classes": "pieces(primary_class)",
    "secondary_classes": "pieces(secondary_class)",
}
_RULES = [
    *identifier("video_id", VIDEO_CATALOG),
    *time("published_at", VIDEO_CATALOG, optional=True),
    *time("removed_at", VIDEO_CATALOG, optional=True),
    Rule(
        "removed_before_published",
        VIDEO_CATALOG,
        "removed_at_time < published_at_time",
        "removed_at no earlier than published_at",
        "shown(removed_at) || ' before ' || shown(published_at)",
    ),
]
_VALUES = [
    "title",
    "cover",
    "primary_classes",
    "secondary_classes",
    "list_sort(pieces(tags))",
    "published_at_time",
    "removed_at_time",
]

COVER_BATCH = 4096
_COVERS = pa.schema([("row", pa.int64()), *((name, pa.string()) for name in Cover._fields)])


def check(work: Workspace, root: Path) -> None:
    """From relation `videos`: `videos_kept`, the accepted rows, with `cover_path` and `content_hash`."""
    work.check("videos_valid", "videos", _PARSED, _RULES)
    _look_at_covers(work, root)
    work.sql.execute(
        "CREATE VIEW videos_seen AS SELECT * FROM videos_valid JOIN covers USING (row)"
    )
    work.refuse("FROM videos_seen WHERE reason = 'cover_outside_folder'", VIDEO_CATALOG)
    work.sql.execute(
        "CREATE VIEW videos_good AS FROM videos_seen WHERE reason IS DISTINCT FROM 'cover_outside_folder'"
    )
    work.keep_once("videos_good", "video_id", _VALUES, VIDEO_CATALOG)
    work.sql.execute("CREATE TABLE videos_kept AS FROM videos_good_kept")
    work.warn("FROM videos_kept WHERE reason IS NOT NULL")
    work.warn("""SELECT file, row, 'empty_title' AS reason, 'expected a title, found none' AS detail
        FROM videos_kept WHERE folded(title) = ''""")


def date(work: Workspace, published: str) -> None:
    """Creates table `videos_dated`: `videos_kept` with `published` and whether the video was delivered before.

    `published` is SQL over the row, `known_published_at`, `log_start` (the delivery's first
    impression) and `first_seen` (the video's first impression or dated tag), each null where there
    is none.
    """
    work.sql.execute(f"""
        CREATE TABLE videos_dated AS
        SELECT videos_kept.*, known.video_id IS NOT NULL AS is_known, {published} AS published
        FROM videos_kept LEFT JOIN (SELECT video_id, published_at AS known_published_at FROM known) known USING (video_id)
        LEFT JOIN (
            SELECT video_id, min(time) AS first_seen FROM (
                SELECT video_id, event_timestamp_time AS time FROM impressions_kept
                UNION ALL SELECT video_id, event_timestamp_time FROM tags_valid)
            GROUP BY video_id) USING (video_id)
        CROSS JOIN (SELECT min(event_timestamp_time) AS log_start FROM impressions_kept)""")


# A new video holds from its publication on, and once more, as removed, from its removal on. The row
# of a video that was delivered before says what holds now.
_CATALOG = """
    WITH rows AS (
        SELECT video_id, title, cover_path AS cover, primary_classes, secondary_classes, content_hash,
            published AS published_at, removed_at_time AS removed, is_known FROM videos_dated),
    timed AS (
        SELECT *, NULL AS removed_at, published_at AS event_timestamp FROM rows
        WHERE NOT is_known AND (removed IS NULL OR removed > published_at)
        UNION ALL SELECT *, removed, removed FROM rows WHERE NOT is_known AND removed IS NOT NULL
        UNION ALL SELECT *, removed, delivered_at() FROM rows WHERE is_known)
    SELECT *, event_timestamp AS created_timestamp FROM timed
"""


def write(work: Workspace) -> Path:
    """Stages the catalogue from `videos_dated`."""
    return work.write(VIDEO_CATALOG, _CATALOG, "video_id, event_timestamp")


def _look_at_covers(work: Workspace, root: Path) -> None:
    """Creates table `covers`, one row per valid video."""
    work.copy("covers", _COVERS.empty_table())
    reading = work.sql.cursor().execute(
        "SELECT row, cover, title FROM delivery.videos_valid ORDER BY row"
    )
    while batch := reading.fetchmany(COVER_BATCH):
        found = examine(
            root, [(cover, title) for _, cover, title in batch], work.settings.max_image_pixels
        )
        rows = [
            {"row": row, **cover._asdict()} for (row, *_), cover in zip(batch, found, strict=True)
        ]
        work.append("covers", pa.Table.from_pylist(rows, _COVERS))
