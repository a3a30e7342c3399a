"""What a delivery changes in the history of its videos' tags.

Each statement of the delivery says that a tag holds, or doesn't, from a time on: the tags listed
with a video from the start of its row on, those of the tags file from their own times on. Only
statements that change what is known at their time become rows.
"""

from __future__ import annotations

from pathlib import Path

from vidtopics.contracts import VIDEO_TAGS
from vidtopics.ingest.known import Known
from vidtopics.ingest.workspace import Workspace

# Time and source of what is known, each key's latest and, of videos in the delivery, at the start
# of their row and at each later time.
_KNOWN = """
    CREATE TABLE video_starts AS
    SELECT video_id, is_earlier, CASE WHEN is_known AND NOT is_earlier
        AND effective_from_time IS NULL THEN published ELSE starts END AS starts FROM videos_dated;
    CREATE TABLE known_tags AS
    SELECT video_id, tag, spelling, source, event_timestamp AS event, created_timestamp AS created,
        value_hash <> 0 AS holds
    FROM stored_tags SEMI JOIN (
        SELECT video_id FROM videos_dated UNION SELECT video_id FROM tags_valid) USING (video_id);
    CREATE TABLE known_keys AS
    SELECT video_id, tag,
        max({'event': event, 'created': created, 'holds': holds, 'source': source}) AS latest,
        (min({'event': event, 'created': created, 'spelling': spelling}) FILTER (holds)).spelling
            AS first_spelling
    FROM known_tags GROUP BY video_id, tag;
    CREATE TABLE tag_states AS
    SELECT video_id, tag, starts AS event, state.holds, state.source FROM (
        SELECT video_id, tag, starts, max({'event': event, 'created': created, 'holds': holds,
            'source': source}) FILTER (event <= starts) AS state
        FROM known_tags JOIN video_starts USING (video_id) GROUP BY video_id, tag, starts)
    UNION ALL
    SELECT video_id, tag, event, state.holds, state.source FROM (
        SELECT video_id, tag, event,
            max({'created': created, 'holds': holds, 'source': source}) AS state
        FROM known_tags JOIN video_starts USING (video_id) WHERE event > starts
        GROUP BY video_id, tag, event)
"""

# An undated row of the tags file counts from the start of its video's row on. Of a video that was
# delivered before, neither the list nor undated rows hold against a withdrawal in this delivery:
# the same files, delivered again, would give back the tag that they take back.
_DELIVERED = """
    CREATE TABLE withdrawn AS
    SELECT DISTINCT video_id, folded_tag AS tag, removed_at_time AS event
    FROM tags_valid WHERE removed_at_time IS NOT NULL;
    CREATE TABLE listed AS
    SELECT video_id, folded_tag AS tag, starts,
        CASE WHEN is_earlier OR (video_id, folded_tag) IN (SELECT (video_id, tag) FROM known_keys)
            THEN delivered_at() ELSE starts END AS created,
        arg_min(spelling, row) AS spelling
    FROM tags_listed JOIN video_starts USING (video_id)
    WHERE NOT is_earlier OR (video_id, folded_tag) NOT IN (SELECT (video_id, tag) FROM withdrawn)
    GROUP BY ALL;
    CREATE TABLE given AS
    SELECT valid.video_id, folded_tag AS tag, row, spelling,
        coalesce(event_timestamp_time, starts, delivered_at()) AS event
    FROM tags_valid AS valid LEFT JOIN video_starts USING (video_id)
    WHERE (removed_at_time IS NULL OR removed_at_time > event)
        AND (event_timestamp_time IS NOT NULL OR is_earlier IS NOT DISTINCT FROM false
            OR (valid.video_id, folded_tag) NOT IN (SELECT (video_id, tag) FROM withdrawn));
    CREATE TABLE given_keys AS
    SELECT video_id, tag, arg_min(spelling, row) AS spelling FROM given GROUP BY video_id, tag
"""

# In this order: listed tags, at the start of the video's row and wherever they had ended later;
# tags that the catalogue no longer lists; the tags file; listed tags that the tags file gives too,
# which the list alone no longer ends. Rows of known tags are known from the delivery on.
_STATEMENTS = """
    CREATE TABLE tag_statements AS
    WITH statement AS (
        SELECT video_id, tag, starts AS event, created, true AS holds, true AS of_list FROM listed
        UNION ALL
        SELECT video_id, tag, event, delivered_at(), true, true
        FROM tag_states JOIN listed USING (video_id, tag) WHERE event > starts AND NOT holds
        UNION ALL
        SELECT video_id, tag, event, delivered_at(), false, true
        FROM tag_states JOIN video_starts USING (video_id)
        ANTI JOIN listed USING (video_id, tag) ANTI JOIN given_keys USING (video_id, tag)
        WHERE is_earlier AND holds AND source = 'catalogue'
        UNION ALL
        SELECT video_id, tag, event, CASE WHEN latest IS NULL THEN event ELSE delivered_at() END,
            holds, false
        FROM (
            SELECT video_id, tag, event, true AS holds FROM given
            UNION SELECT video_id, tag, event, false FROM withdrawn)
        LEFT JOIN known_keys USING (video_id, tag))
    SELECT video_id, tag, event, created, bool_or(holds) AS holds, bool_or(of_list) AS of_list
    FROM statement GROUP BY video_id, tag, event, created
"""
_CHANGES = """
    CREATE TABLE tags_staged AS
    WITH merged AS (
        SELECT true AS staged, * FROM tag_statements
        UNION ALL SELECT false, video_id, tag, event, created, holds, false FROM known_tags),
    compared AS (
        SELECT *, lag(holds) OVER (PARTITION BY video_id, tag ORDER BY event, created, staged)
            AS held FROM merged),
    changed AS (
        SELECT video_id, tag, event, created, holds, of_list
        FROM compared WHERE staged AND holds <> coalesce(held, false)
        UNION ALL
        SELECT video_id, tag, latest.event, delivered_at(), true, false
        FROM known_keys SEMI JOIN given_keys USING (video_id, tag)
        WHERE latest.holds AND latest.source = 'catalogue')
    SELECT changed.video_id, changed.tag, of_list, changed.event AS event_timestamp,
        changed.created AS created_timestamp,
        CASE WHEN holds THEN coalesce(first_spelling, listed.spelling, given_keys.spelling) END
            AS spelling,
        CASE WHEN holds THEN CASE WHEN given_keys.tag IS NULL THEN 'catalogue' ELSE 'tags' END END
            AS source
    FROM changed LEFT JOIN known_keys USING (video_id, tag)
    LEFT JOIN listed USING (video_id, tag) LEFT JOIN given_keys USING (video_id, tag)
"""


def stage(work: Workspace, known: Known) -> None:
    """Creates table `tags_staged` from `tags_listed`, `tags_valid` and `videos_dated`."""
    work.sql.register("stored_tags", known.rows[VIDEO_TAGS.name])
    for statements in (_KNOWN, _DELIVERED, _STATEMENTS, _CHANGES):
        work.sql.execute(statements)


def write(work: Workspace) -> Path:
    """Stages the changes of tags from `tags_staged`."""
    return work.write(VIDEO_TAGS, "FROM tags_staged", "video_id, tag, event_timestamp")
