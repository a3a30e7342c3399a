"""Rows of the log: each is an impression, and a click if it was clicked."""

from __future__ import annotations

from pathlib import Path

from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.ingest.readers import Columns
from vidtopics.ingest.rules import MAX_FLOAT32, MAX_INT32, Rule, identifier, known_video, time
from vidtopics.ingest.workspace import Workspace

COLUMNS = Columns(
    ["user_id", "video_id", "event_timestamp", "clicked"],
    ["clicked_at", "watch_seconds", "request_id", "position", "event_id", "created_timestamp"],
    numbers=[
        "event_timestamp",
        "clicked",
        "clicked_at",
        "watch_seconds",
        "position",
        "created_timestamp",
    ],
)

# Ids hold no control characters (they were checked), so that the unit separator joins them
# unambiguously.
_ROW_HASH = "md5(concat_ws(chr(31), user_id, video_id, epoch_us(instant(event_timestamp)), request_id, position))"
_PARSED = {
    "event_timestamp_time": "instant(event_timestamp)",
    "created_timestamp_time": "instant(created_timestamp)",
    "clicked_at_time": "instant(clicked_at)",
    "clicked_number": "number(clicked)",
    "position_number": "number(position)",
    "watch_seconds_number": "number(watch_seconds)",
    "id": f"CASE event_id WHEN '' THEN {_ROW_HASH} ELSE event_id END",
}

_RULES = [
    *identifier("user_id", IMPRESSIONS),
    *identifier("video_id", IMPRESSIONS),
    *identifier("request_id", IMPRESSIONS, optional=True),
    *identifier("event_id", IMPRESSIONS, optional=True),
    *time("event_timestamp", IMPRESSIONS),
    *time("created_timestamp", IMPRESSIONS, optional=True),
    Rule(
        "created_before_event",
        IMPRESSIONS,
        "created_timestamp_time < event_timestamp_time",
        "created_timestamp no earlier than event_timestamp",
        "shown(created_timestamp) || ' before ' || shown(event_timestamp)",
    ),
    Rule(
        "bad_position",
        IMPRESSIONS,
        "position <> '' AND (position_number IS NULL OR position_number <> floor(position_number)"
        f" OR position_number NOT BETWEEN 1 AND {MAX_INT32})",
        f"a whole number position from 1 to {MAX_INT32}",
        "shown(position)",
    ),
    Rule(
        "bad_clicked",
        CLICKS,
        "coalesce(clicked_number NOT IN (0, 1), true)",
        "clicked 0 or 1",
        "shown(clicked)",
    ),
    *time("clicked_at", CLICKS, optional=True),
    Rule(
        "contradicting_click",
        CLICKS,
        "clicked_number = 0 AND clicked_at <> ''",
        "no clicked_at where clicked is 0",
        "shown(clicked_at)",
    ),
    Rule(
        "click_before_impression",
        CLICKS,
        "clicked_at_time < event_timestamp_time",
        "clicked_at no earlier than event_timestamp",
        "shown(clicked_at) || ' before ' || shown(event_timestamp)",
    ),
    Rule(
        "not_finite",
        CLICKS,
        "regexp_full_match(watch_seconds, '(?i)[+-]?(nan|inf|infinity)')"
        f" OR abs(watch_seconds_number) > {MAX_FLOAT32}",
        "finite watch_seconds",
        "shown(watch_seconds)",
    ),
    Rule(
        "bad_number",
        CLICKS,
        "watch_seconds <> '' AND watch_seconds_number IS NULL",
        "watch_seconds as a number",
        "shown(watch_seconds)",
    ),
    Rule(
        "negative_watch",
        CLICKS,
        "watch_seconds_number < 0",
        "watch_seconds of 0 or more",
        "shown(watch_seconds)",
    ),
    known_video(IMPRESSIONS),
]
_VALUES = [
    "user_id",
    "video_id",
    "request_id",
    "position_number",
    "event_timestamp_time",
    "created_timestamp_time",
    "clicked_number",
    "clicked_at_time",
    "watch_seconds_number",
]


def check(work: Workspace) -> None:
    """From relations `impressions` and `video_ids`: `impressions_kept`, the accepted rows."""
    work.check("impressions_valid", "impressions", _PARSED, _RULES)
    work.keep_once("impressions_valid", "id", _VALUES, IMPRESSIONS)
    work.sql.execute("""
        CREATE VIEW impressions_kept AS
        SELECT *, coalesce(created_timestamp_time, event_timestamp_time) AS created FROM impressions_valid_kept""")


def write_impressions(work: Workspace) -> Path:
    """Stages the impressions; one is known from its created_timestamp on, or at once."""
    rows = """SELECT row, id AS event_id, user_id, video_id, nullif(request_id, '') AS request_id,
        CAST(position_number AS INTEGER) AS position, event_timestamp_time AS event_timestamp,
        created AS created_timestamp FROM impressions_kept"""
    return work.write(IMPRESSIONS, rows, "row")


def write_clicks(work: Workspace) -> Path:
    """Stages the clicks, at their own time or their impression's; one is known once both it and its impression are."""
    rows = """SELECT row, id AS event_id, CAST(watch_seconds_number AS FLOAT) AS watch_seconds,
        coalesce(clicked_at_time, event_timestamp_time) AS event_timestamp,
        greatest(clicked_at_time, created) AS created_timestamp FROM impressions_kept WHERE clicked_number = 1"""
    return work.write(CLICKS, rows, "row")
