"""Tags: those listed with a video, and those that were given at a time; the first time of each counts."""

from __future__ import annotations

from pathlib import Path

from vidtopics.contracts import MAX_ID_BYTES, VIDEO_TAGS
from vidtopics.ingest.readers import Columns
from vidtopics.ingest.rules import Rule, first_broken, identifier, known_video, time
from vidtopics.ingest.workspace import Workspace

COLUMNS = Columns(["video_id", "tag", "event_timestamp"])

_TAG = f"tag of 1 to {MAX_ID_BYTES} bytes without control characters"
_TAG_RULES = [
    Rule(
        "long_tag",
        VIDEO_TAGS,
        f"strlen(folded_tag) > {MAX_ID_BYTES}",
        f"a {_TAG}",
        "strlen(folded_tag) || ' bytes'",
    ),
    Rule(
        "control_character",
        VIDEO_TAGS,
        r"regexp_matches(folded_tag, '\p{Cc}')",
        f"a {_TAG}",
        "shown(tag)",
    ),
]
_RULES = [
    *identifier("video_id", VIDEO_TAGS),
    *_TAG_RULES,
    *time("event_timestamp", VIDEO_TAGS, optional=True),
    known_video(VIDEO_TAGS),
]
_PARSED = {"folded_tag": "folded(tag)", "event_timestamp_time": "instant(event_timestamp)"}


def check(work: Workspace) -> None:
    """From relations `tags`, `videos_kept` and `video_ids`: `tags_valid` (given at a time) and `tags_listed`."""
    work.warn("""SELECT file, row, 'empty_tag' AS reason, 'expected a tag, found none' AS detail
        FROM tags WHERE folded(tag) = ''""")
    work.check("tags_valid", "(FROM tags WHERE folded(tag) <> '')", _PARSED, _RULES)
    work.sql.execute(f"""
        CREATE TABLE tags_checked AS SELECT *, {first_broken(_TAG_RULES)} AS broken FROM (
            SELECT *, folded(tag) AS folded_tag
            FROM (SELECT file, row, video_id, unnest(string_split(tags, '|')) AS tag FROM videos_kept))
        WHERE folded_tag <> '';
        CREATE VIEW tags_listed AS FROM tags_checked WHERE broken IS NULL""")
    work.warn(
        """SELECT file, row, broken.reason AS reason, string_agg(broken.detail, '; ' ORDER BY tag) AS detail
        FROM tags_checked WHERE broken IS NOT NULL GROUP BY ALL""",
        VIDEO_TAGS,
    )


def write(work: Workspace) -> Path:
    """Stages the first time of each tag; a tag without one is as old as its video's row of the catalogue."""
    rows = """
        WITH catalogue AS (
            SELECT video_id, CASE WHEN is_known THEN delivered_at() ELSE published END AS catalogued FROM videos_dated),
        given AS (
            SELECT video_id, folded_tag AS tag, NULL AS time FROM tags_listed
            UNION ALL SELECT video_id, folded_tag, event_timestamp_time FROM tags_valid)
        SELECT video_id, tag, min(coalesce(time, catalogued, delivered_at())) AS event_timestamp,
            event_timestamp AS created_timestamp
        FROM given LEFT JOIN catalogue USING (video_id) GROUP BY video_id, tag"""
    return work.write(VIDEO_TAGS, rows, "video_id, tag")
