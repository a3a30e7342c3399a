"""Rows of the catalogue: checked, with their covers looked at, and timed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from vidtopics.contracts import VIDEO_CATALOG
from vidtopics.ingest import classes
from vidtopics.ingest.cover_contents import Cover, Delivered
from vidtopics.ingest.covers import examine
from vidtopics.ingest.known import Known
from vidtopics.ingest.readers import Columns
from vidtopics.ingest.rules import Rule, identifier, time
from vidtopics.ingest.workspace import Workspace

COLUMNS = Columns(
    ["video_id", "title", "cover", "primary_class", "secondary_class", "tags", "published_at"],
    ["removed_at", "effective_from"],
    times=["published_at", "removed_at", "effective_from"],
)

_PARSED = {
    "published_at_time": "instant(published_at)",
    "removed_at_time": "instant(removed_at)",
    "effective_from_time": "instant(effective_from)",
    "primary_classes": "pieces(primary_class)",
    "secondary_classes": "pieces(secondary_class)",
}
_RULES = [
    *identifier("video_id", VIDEO_CATALOG),
    *time("published_at", VIDEO_CATALOG, optional=True),
    *time("removed_at", VIDEO_CATALOG, optional=True),
    *time("effective_from", VIDEO_CATALOG, optional=True),
    Rule(
        "removed_before_published",
        VIDEO_CATALOG,
        "removed_at_time < published_at_time",
        "removed_at no earlier than published_at",
        "shown(removed_at) || ' before ' || shown(published_at)",
    ),
]
_FOLDED = "list_transform({}, lambda text: folded(text))"
_VALUES = {
    "title": "title",
    "cover": "cover",
    "primary_class": _FOLDED.format("primary_classes"),
    "secondary_class": _FOLDED.format("secondary_classes"),
    "tags": f"list_sort(list_distinct({_FOLDED.format('pieces(tags)')}))",
    "published_at": "coalesce(CAST(published_at_time AS VARCHAR), '')",
    "removed_at": "coalesce(CAST(removed_at_time AS VARCHAR), '')",
    "effective_from": "coalesce(CAST(effective_from_time AS VARCHAR), '')",
}

COVER_BATCH = 4096
_COVERS = pa.schema([("row", pa.int64()), *((name, pa.string()) for name in Cover._fields)])


def check(work: Workspace, root: Path, known: Known, before: Known | None) -> None:
    """From `videos`: `videos_kept`, the accepted rows, and `video_ids`, known ones too."""
    work.check("videos_valid", "videos", _PARSED, _RULES)
    _load(work, known, before)
    _look_at_covers(work, root)
    work.sql.execute(
        "CREATE VIEW videos_seen AS SELECT * FROM videos_valid JOIN covers USING (row)"
    )
    work.refuse("FROM videos_seen WHERE reason = 'cover_outside_folder'", VIDEO_CATALOG)
    work.sql.execute(
        "CREATE VIEW videos_good AS FROM videos_seen"
        " WHERE reason IS DISTINCT FROM 'cover_outside_folder'"
    )
    described = "'video_id ' || shown(video_id)"
    work.keep_once("videos_good", "video_id", described, _VALUES, VIDEO_CATALOG)
    classes.spell(work)
    work.sql.execute("""
        CREATE TABLE video_ids AS
        SELECT video_id FROM videos_kept UNION SELECT video_id FROM known_videos""")
    work.warn("FROM videos_kept WHERE reason IS NOT NULL")
    work.warn("""SELECT file, row, 'empty_title' AS reason, 'expected a title, found none' AS detail
        FROM videos_kept WHERE folded(title) = ''""")


def _load(work: Workspace, known: Known, before: Known | None) -> None:
    """Creates `known_videos`, with `published_at`; `earlier_videos` are of other deliveries.

    And `known_contents`: the contents with a cover that delivered videos have had.
    """
    earlier = before if before is not None else known
    work.sql.register("stored_catalogue", known.rows[VIDEO_CATALOG.name])
    work.sql.register("stored_earlier_catalogue", earlier.rows[VIDEO_CATALOG.name])
    work.sql.execute("""
        CREATE TABLE known_videos AS
        SELECT video_id, max({'event': event_timestamp, 'created': created_timestamp,
            'published_at': published_at}).published_at AS published_at
        FROM stored_catalogue GROUP BY video_id;
        CREATE TABLE earlier_videos AS SELECT DISTINCT video_id FROM stored_earlier_catalogue;
        CREATE TABLE known_contents AS
        SELECT video_id, list(DISTINCT content_hash) AS contents
        FROM stored_catalogue SEMI JOIN videos_valid USING (video_id)
        WHERE cover <> '' GROUP BY video_id""")


def date(work: Workspace, published: str) -> None:
    """Creates table `videos_dated`: `videos_kept` with what is known of each video, and its times.

    `is_known`: it is in the catalogue; `is_earlier`: it was before this delivery. `published` is
    SQL over the row, `known_published_at`, `log_start` (the delivery's first impression) and
    `first_seen` (the video's first impression or dated tag), each null where there is none. The
    row holds from `starts` on: a known video's from `effective_from` or the delivery, a new
    video's from `effective_from` or its publication, never from before its publication.
    """
    work.sql.execute(f"""
        CREATE TABLE videos_dated AS
        SELECT *, CASE WHEN effective_from_time IS NOT NULL
            THEN greatest(effective_from_time, published)
            WHEN is_known THEN delivered_at() ELSE published END AS starts
        FROM (
            SELECT videos_kept.*, known.video_id IS NOT NULL AS is_known,
                earlier.video_id IS NOT NULL AS is_earlier, {published} AS published
            FROM videos_kept LEFT JOIN (
                SELECT video_id, published_at AS known_published_at FROM known_videos
            ) AS known USING (video_id)
            LEFT JOIN earlier_videos AS earlier USING (video_id)
            LEFT JOIN (
                SELECT video_id, min(time) AS first_seen FROM (
                    SELECT video_id, shown_at AS time FROM impressions_kept
                    UNION ALL SELECT video_id, event_timestamp_time FROM tags_valid)
                GROUP BY video_id) USING (video_id)
            CROSS JOIN (SELECT min(shown_at) AS log_start FROM impressions_kept))""")


# A new video holds from its start on, and once more, as removed, from its removal on. The row of a
# known video holds from its start on whatever was known of later times: it is written again at each
# later time of the catalogue, as known from the delivery on.
_FACTS = "title, cover, primary_classes, secondary_classes, published_at, removed_at, content_hash"
_STAGED = f"""
    CREATE TABLE known_catalogue AS
    SELECT video_id, {_FACTS}, event_timestamp, created_timestamp
    FROM stored_catalogue SEMI JOIN videos_dated USING (video_id);
    CREATE TABLE videos_staged AS
    WITH rows AS (
        SELECT video_id, title, cover_path AS cover, primary_classes, secondary_classes,
            content_hash, published AS published_at, removed_at_time AS removed, is_known, starts
        FROM videos_dated),
    timed AS (
        SELECT *, NULL AS removed_at, starts AS event_timestamp, starts AS created_timestamp
        FROM rows WHERE NOT is_known AND (removed IS NULL OR removed > starts)
        UNION ALL
        SELECT *, removed, greatest(removed, starts), greatest(removed, starts)
        FROM rows WHERE NOT is_known AND removed IS NOT NULL
        UNION ALL SELECT *, removed, starts, delivered_at() FROM rows WHERE is_known
        UNION ALL
        SELECT rows.*, removed, later.event_timestamp, delivered_at() FROM rows JOIN (
            SELECT DISTINCT video_id, event_timestamp FROM known_catalogue) AS later
        ON rows.video_id = later.video_id AND later.event_timestamp > starts WHERE is_known),
    merged AS (
        SELECT true AS staged, video_id, {_FACTS}, event_timestamp, created_timestamp FROM timed
        UNION ALL
        SELECT false, video_id, {_FACTS}, event_timestamp, created_timestamp FROM known_catalogue),
    compared AS (
        SELECT *, hash({_FACTS}) AS value, lag(hash({_FACTS})) OVER (PARTITION BY video_id
            ORDER BY event_timestamp, created_timestamp, staged) AS value_before FROM merged)
    FROM compared WHERE staged AND value IS DISTINCT FROM value_before
"""


def stage(work: Workspace) -> None:
    """Creates table `videos_staged`: rows of `videos_dated` that change the catalogue."""
    work.sql.execute(_STAGED)


def write(work: Workspace) -> Path:
    """Stages the catalogue from `videos_staged`."""
    return work.write(VIDEO_CATALOG, "FROM videos_staged", "video_id, event_timestamp")


def _look_at_covers(work: Workspace, root: Path) -> None:
    """Creates table `covers`, one row per valid video."""
    work.copy("covers", _COVERS.empty_table())
    reading = work.sql.cursor().execute(
        "SELECT row, cover, title, coalesce(contents, []) FROM delivery.videos_valid"
        " LEFT JOIN delivery.known_contents USING (video_id) ORDER BY row"
    )
    while batch := reading.fetchmany(COVER_BATCH):
        delivered = (Delivered(*fields) for _, *fields in batch)
        covers = examine(
            root, delivered, work.settings.max_image_pixels, work.settings.cover_buckets
        )
        rows = [
            {"row": row, **cover._asdict()} for (row, *_), cover in zip(batch, covers, strict=True)
        ]
        work.append("covers", pa.Table.from_pylist(rows, _COVERS))
