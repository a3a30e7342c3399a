"""Rules of a log's rows: what is read from a cell, and for what a row is refused."""

from __future__ import annotations

from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.ingest.rules import MAX_FLOAT32, MAX_INT32, Rule, identifier, known_video, time

# The id of an impression without event_id. Optional columns are no part of it, so that a log that
# comes again with one more column is the same log. Ids hold no control characters (they were
# checked), so that the unit separator joins them unambiguously.
_CONTENT_ID = "md5(concat_ws(chr(31), user_id, video_id, epoch_us(instant(event_timestamp))))"
PARSED = {
    "event_timestamp_time": "instant(event_timestamp)",
    "created_timestamp_time": "instant(created_timestamp)",
    "clicked_at_time": "instant(clicked_at)",
    # as pandas writes truth values
    "clicked_number": "CASE lower(clicked) WHEN 'true' THEN 1 WHEN 'false' THEN 0"
    " ELSE number(clicked) END",
    "position_number": "number(position)",
    "watch_seconds_number": "number(watch_seconds)",
    "content_id": _CONTENT_ID,
}

RULES = [
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
        "clicked 0, 1, true or false",
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
