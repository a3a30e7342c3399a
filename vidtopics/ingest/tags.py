"""Tags of videos: listed in the catalogue, or given and taken back at a time in the tags file.

A tag that is listed with a video holds until a later catalogue row of the video doesn't list it. A
tag of the tags file holds until the tags file takes it back. Where a delivery takes a tag back,
neither its own list nor its undated rows give it again.
"""

from __future__ import annotations

from vidtopics.contracts import MAX_ID_BYTES, VIDEO_TAGS
from vidtopics.ingest.readers import Columns
from vidtopics.ingest.rules import Rule, first_broken, identifier, known_video, time
from vidtopics.ingest.workspace import Workspace

COLUMNS = Columns(
    ["video_id", "tag", "event_timestamp"],
    ["removed_at"],
    times=["event_timestamp", "removed_at"],
)

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
    *time("removed_at", VIDEO_TAGS, optional=True),
    Rule(
        "removed_before_given",
        VIDEO_TAGS,
        "removed_at_time < event_timestamp_time",
        "removed_at no earlier than event_timestamp",
        "shown(removed_at) || ' before ' || shown(event_timestamp)",
    ),
    known_video(VIDEO_TAGS),
]
# The spelling as delivered, white space runs made one space.
_SPELLING = r"trim(regexp_replace(tag, '[\s\p{Z}]+', ' ', 'g'))"
_PARSED = {
    "folded_tag": "folded(tag)",
    "spelling": _SPELLING,
    "event_timestamp_time": "instant(event_timestamp)",
    "removed_at_time": "instant(removed_at)",
}


def check(work: Workspace) -> None:
    """From relations `tags`, `videos_kept` and `video_ids`: `tags_valid` and `tags_listed`."""
    work.leave_out("""
        SELECT file, row, 'empty_tag' AS reason, 'expected a tag, found none' AS detail
        FROM tags WHERE folded(tag) = ''""")
    work.check("tags_valid", "(FROM tags WHERE folded(tag) <> '')", _PARSED, _RULES)
    work.leave_out("""
        SELECT file, row, 'duplicate_row' AS reason,
            'expected tag ' || shown(tag) || ' of video_id ' || shown(video_id)
                || ' once, found it again after row ' || first AS detail
        FROM (SELECT *, min(row) OVER (PARTITION BY video_id, folded_tag, event_timestamp_time,
            removed_at_time) AS first FROM tags_valid) WHERE row > first""")
    work.sql.execute(f"""
        CREATE TABLE tags_checked AS SELECT *, {first_broken(_TAG_RULES)} AS broken FROM (
            SELECT *, folded(tag) AS folded_tag, {_SPELLING} AS spelling
            FROM (
                SELECT file, row, video_id, unnest(string_split(tags, '|')) AS tag
                FROM videos_kept))
        WHERE folded_tag <> '';
        CREATE VIEW tags_listed AS FROM tags_checked WHERE broken IS NULL""")
    work.warn(
        """SELECT file, row, broken.reason AS reason,
            string_agg(broken.detail, '; ' ORDER BY tag) AS detail
        FROM tags_checked WHERE broken IS NOT NULL GROUP BY ALL""",
        VIDEO_TAGS,
    )
