"""Rows of the log: each is an impression, and a click if it was clicked."""

from __future__ import annotations

from pathlib import Path

from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.ingest import event_ids, redelivery
from vidtopics.ingest.known import Known
from vidtopics.ingest.log_rules import PARSED, RULES
from vidtopics.ingest.readers import Columns
from vidtopics.ingest.workspace import Workspace

COLUMNS = Columns(
    ["user_id", "video_id", "event_timestamp", "clicked"],
    [
        "clicked_at",
        "watch_seconds",
        "request_id",
        "position",
        "event_id",
        "created_timestamp",
        "propensity",
    ],
    numbers=[
        "event_timestamp",
        "clicked",
        "clicked_at",
        "watch_seconds",
        "position",
        "created_timestamp",
    ],
    measures=["watch_seconds"],
    times=["event_timestamp", "clicked_at", "created_timestamp"],
)
"""`propensity` is for `evaluate off-policy`, which reads the delivery; no table has it."""

# Null where a row doesn't say: one row of an impression may say more than another.
_OPTIONAL = {
    "request_id": "nullif(request_id, '')",
    "position": "CAST(position_number AS INTEGER)",
    "clicked_at": "clicked_at_time",
    "watch_seconds": "CAST(watch_seconds_number AS FLOAT)",
    "created_timestamp": "created_timestamp_time",
}
_VALUES = {
    "user_id": "user_id",
    "video_id": "video_id",
    "event_timestamp": "event_timestamp_time",
    "clicked": "CAST(clicked_number AS INTEGER)",
    **_OPTIONAL,
}

_DESCRIBED = event_ids.described("impressions_identified")


def check(work: Workspace, known: Known, before: Known | None, prefix: str) -> None:
    """From relations `impressions` and `video_ids`: table `impressions_kept`, the accepted rows.

    Columns beside the log's: `id`, `created`, and what the tables hold of it (`is_known`,
    `is_click_known`). `prefix` is put before each event_id.

    Raises:
        InputError: the event ids restart, or `prefix` is given and there are none.
    """
    event_ids.add_prefix(work, prefix)
    work.check("impressions_valid", "impressions_prefixed", PARSED, RULES)
    redelivery.load(work, known, before)
    event_ids.assign(work)
    work.keep_once("impressions_identified", "id", _DESCRIBED, _VALUES, IMPRESSIONS)
    _merge_repetitions(work)
    redelivery.judge(work)


def _merge_repetitions(work: Workspace) -> None:
    """Creates table `impressions_once`: each impression with all that its repetitions say."""
    merged = ", ".join(f"max({value}) AS {name}" for name, value in _OPTIONAL.items())
    values = ", ".join(f"coalesce(kept.{name}, repetitions.{name}) AS {name}" for name in _OPTIONAL)
    texts = ", ".join(_OPTIONAL)
    parsed = ", ".join(f"{value} AS {name}" for name, value in _OPTIONAL.items())
    work.sql.execute(f"""
        CREATE TABLE impressions_once AS
        SELECT kept.* EXCLUDE ({texts}), {values} FROM (
            SELECT file, row, id, event_id, user_id, video_id, event_timestamp,
                event_timestamp_time AS shown_at,
                clicked_number = 1 AS is_clicked, {parsed} FROM impressions_identified_kept) AS kept
        LEFT JOIN (
            SELECT id, {merged} FROM impressions_identified
            JOIN impressions_identified_repeated ON id = repeated WHERE unlike GROUP BY id
        ) AS repetitions USING (id)""")


def write_impressions(work: Workspace) -> Path:
    """Stages new impressions; one is known from its created_timestamp on, or at once."""
    rows = """SELECT row, id AS event_id, user_id, video_id, request_id, position,
        shown_at AS event_timestamp, created AS created_timestamp
        FROM impressions_kept WHERE NOT is_known"""
    return work.write(IMPRESSIONS, rows, "row")


def write_clicks(work: Workspace) -> Path:
    """Stages new clicks, at their own time or their impression's; known once both are.

    The click of an impression that was delivered earlier is known from this delivery on.
    """
    rows = """SELECT row, id AS event_id, user_id, video_id, watch_seconds,
        coalesce(clicked_at, shown_at) AS event_timestamp,
        CASE WHEN is_earlier THEN delivered_at() ELSE greatest(clicked_at, created) END
            AS created_timestamp
        FROM impressions_kept WHERE is_clicked AND NOT is_click_known"""
    return work.write(CLICKS, rows, "row")
