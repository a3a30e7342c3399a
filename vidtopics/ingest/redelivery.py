"""Impressions of a delivery against those of the tables: repetitions, conflicts, late clicks."""

from __future__ import annotations

from collections.abc import Mapping

from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.errors import InputError, explain
from vidtopics.ingest.delivery import EXAMPLES
from vidtopics.ingest.event_ids import described
from vidtopics.ingest.known import Known
from vidtopics.ingest.workspace import Workspace, quoted

# Stored impressions of a delivered id or, for rows without a stored id, of the same user, video and
# time. The delivery is the side that is held in memory (and spilled), the table is streamed. One
# join a statement: two side by side need more than the memory limit for millions of rows.
_LOAD = """
    CREATE TABLE candidate AS
    FROM stored_impressions SEMI JOIN (
        SELECT event_id FROM impressions_valid WHERE event_id <> '') USING (event_id);
    CREATE TABLE unidentified AS
    SELECT user_id, video_id, event_timestamp_time AS event_timestamp
    FROM impressions_valid ANTI JOIN candidate USING (event_id);
    CREATE TABLE same_content AS
    FROM (FROM stored_impressions
        WHERE event_timestamp >= {first} - INTERVAL 1 SECOND
            AND event_timestamp <= {last} + INTERVAL 1 SECOND) AS stored
    SEMI JOIN unidentified USING (user_id, video_id, event_timestamp);
    INSERT INTO candidate FROM same_content ANTI JOIN candidate USING (event_id);
    CREATE TABLE known_impressions AS
    SELECT event_id, user_id, video_id, request_id, position, event_timestamp AS shown_at,
        md5(concat_ws(chr(31), user_id, video_id, epoch_us(event_timestamp))) AS content_id,
        starts_with(event_id, content_id) AS is_hashed
    FROM candidate;
    DROP TABLE candidate; DROP TABLE unidentified; DROP TABLE same_content;
    CREATE TABLE known_clicks AS
    SELECT event_id, watch_seconds, event_timestamp AS clicked_at
    FROM stored_clicks SEMI JOIN known_impressions USING (event_id);
    CREATE TABLE earlier_impressions AS
    SELECT event_id FROM stored_earlier SEMI JOIN known_impressions USING (event_id)
"""

# Column of the file to (delivered, known): they differ if both are there and unequal.
_IDENTITY = {
    "user_id": ("new.user_id", "known.user_id"),
    "video_id": ("new.video_id", "known.video_id"),
    "event_timestamp": ("new.shown_at", "known.shown_at"),
    "request_id": ("new.request_id", "known.request_id"),
    "position": ("new.position", "known.position"),
}
_CLICK = {
    "clicked": (
        "CAST(new.is_clicked AS INTEGER)",
        "CASE WHEN known_click.event_id IS NOT NULL THEN 1 END",
    ),
    "watch_seconds": ("new.watch_seconds", "known_click.watch_seconds"),
    # a click without a time of its own has its impression's
    "clicked_at": ("new.clicked_at", "nullif(known_click.clicked_at, known.shown_at)"),
}


def load(work: Workspace, known: Known, before: Known | None) -> None:
    """Creates `known_impressions`, `known_clicks`; `earlier_impressions` of other deliveries."""
    earlier = before if before is not None else known
    work.sql.register("stored_impressions", known.rows[IMPRESSIONS.name])
    work.sql.register("stored_clicks", known.rows[CLICKS.name])
    work.sql.register("stored_earlier", earlier.rows[IMPRESSIONS.name])
    # As constants, they spare the files of the table that lie outside. A table's statistics of
    # times may be rounded to milliseconds.
    times = work.sql.execute("""
        SELECT CAST(unnest([min(event_timestamp_time), max(event_timestamp_time)]) AS VARCHAR)
        FROM impressions_valid""").fetchall()
    first, last = (f"CAST({quoted(t) if t else 'NULL'} AS TIMESTAMPTZ)" for (t,) in times)
    work.sql.execute(_LOAD.format(first=first, last=last))


def judge(work: Workspace) -> None:
    """Creates table `impressions_kept`: `impressions_once` without what contradicts the tables.

    Raises:
        InputError: more than `max_reused_share` of the rows have the id of another impression.
    """
    work.sql.execute(f"""
        CREATE TABLE contradictions AS
        SELECT file, row, {described("new")} AS described,
            {_differences(_IDENTITY)} AS other_identity, {_differences(_CLICK)} AS other_click
        FROM impressions_once AS new JOIN known_impressions AS known ON new.id = known.event_id
        LEFT JOIN known_clicks AS known_click ON known_click.event_id = known.event_id
        WHERE other_identity <> '' OR other_click <> ''""")
    work.refuse(
        """SELECT file, row,
            CASE WHEN other_identity <> '' THEN 'reused_id' ELSE 'changed_click' END AS reason,
            'expected ' || described || ' as it is known, found '
            || concat_ws(', ', nullif(other_identity, ''), nullif(other_click, '')) AS detail
        FROM contradictions""",
        IMPRESSIONS,
    )
    _refuse_restarted_ids(work)
    work.sql.execute("""
        CREATE TABLE impressions_kept AS
        SELECT new.*, coalesce(created_timestamp, new.shown_at) AS created,
            known.event_id IS NOT NULL AS is_known, earlier.event_id IS NOT NULL AS is_earlier,
            known_click.event_id IS NOT NULL AS is_click_known
        FROM impressions_once AS new LEFT JOIN known_impressions AS known ON new.id = known.event_id
        LEFT JOIN known_clicks AS known_click ON new.id = known_click.event_id
        LEFT JOIN earlier_impressions AS earlier ON new.id = earlier.event_id
        ANTI JOIN contradictions USING (file, row);
        INSERT INTO known_rows SELECT file, row FROM impressions_kept
        WHERE is_known AND (is_click_known OR NOT is_clicked)""")


def _differences(values: Mapping[str, tuple[str, str]]) -> str:
    """SQL that names each column with its delivered and its known value, where the two differ."""
    parts = (
        f"CASE WHEN {new} <> {known} THEN '{label} ' || shown(CAST({new} AS VARCHAR))"
        f" || ' (known: ' || shown(CAST({known} AS VARCHAR)) || ')' END"
        for label, (new, known) in values.items()
    )
    return f"concat_ws(', ', {', '.join(parts)})"


def _refuse_restarted_ids(work: Workspace) -> None:
    """InputError if more than `max_reused_share` of the rows have another impression's id."""
    reading = work.sql.execute(f"""
        WITH reused AS (
            SELECT file, row, detail FROM issues JOIN impressions_valid USING (file, row)
            WHERE event_id <> '' AND (reason = 'reused_id'
                OR reason = 'conflicting_rows' AND event_id IN (
                SELECT repeated FROM impressions_identified_conflicts
                WHERE label IN ('user_id', 'video_id', 'event_timestamp'))))
        SELECT file, any_value(rows), count(*),
            arg_min('row ' || row || ': ' || detail, row, {EXAMPLES})
        FROM reused JOIN files USING (file) GROUP BY file""")
    for file, rows, count, examples in reading.fetchall():
        if count > rows * work.settings.max_reused_share:
            headline = explain(
                file,
                expected="one event_id per impression",
                found=f"{count} of {rows} rows with the id of another: ids restart in this file",
                mend="give them a prefix with `--event-id-prefix`, or leave the column out",
            )
            raise InputError("\n  ".join([headline, *examples]))
