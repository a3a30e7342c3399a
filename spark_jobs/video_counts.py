"""video_counts: exposures and clicks of every video in the log before the as-of time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, VIDEO_COUNTS
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.increments import plan
from vidtopics.jobs.job import Job, Run, main
from vidtopics.jobs.sql import Engine, on_duckdb, on_spark
from vidtopics.rates import halved

EVENTS = f"""
SELECT video_id, unix_micros({EVENT_TIME}) AS us, 1 AS shown, 0 AS clicked FROM {{impressions}}
UNION ALL
SELECT video_id, unix_micros({EVENT_TIME}) AS us, 0 AS shown, 1 AS clicked FROM {{clicks}}
"""
LAST = """
SELECT e.video_id, GREATEST(MAX(e.us), COALESCE(MAX(b.video_decayed_at), MAX(e.us))) AS last_us
FROM {events} e LEFT JOIN {base} b ON e.video_id = b.video_id GROUP BY e.video_id
"""
ROWS = """
SELECT video_id, CAST(SUM(shown) AS BIGINT) AS video_exposures,
  CAST(SUM(clicked) AS BIGINT) AS video_clicks,
  CAST(SUM(decayed_shown) AS FLOAT) AS video_decayed_exposures,
  CAST(SUM(decayed_clicked) AS FLOAT) AS video_decayed_clicks, MAX(last_us) AS video_decayed_at
FROM {parts} GROUP BY video_id
"""


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """Add the new events of each video that has any; the others' rows stay as they are.

    Decayed counts hold as of the video's last event, so that a run without one changes nothing.
    """
    chosen = plan(run, JOB, IMPRESSIONS, CLICKS)
    for log in (IMPRESSIONS, CLICKS):
        engine.log(log.name, log, chosen.seen, chosen.new_rows(log))
    engine.view("events", EVENTS, reused=True)
    engine.base("base", VIDEO_COUNTS, chosen, of="SELECT DISTINCT video_id FROM {events}")
    engine.view("last_events", LAST, reused=True)
    half_life = run.settings.statistics.half_life
    of_event = halved("us", "last_us", half_life)
    of_base = halved("video_decayed_at", "last_us", half_life)
    engine.view(
        "parts",
        f"""
        SELECT e.video_id, shown, clicked, last_us, shown * {of_event} AS decayed_shown,
          clicked * {of_event} AS decayed_clicked
        FROM {{events}} e JOIN {{last_events}} l ON e.video_id = l.video_id
        UNION ALL
        SELECT b.video_id, video_exposures, video_clicks, last_us,
          video_decayed_exposures * {of_base}, video_decayed_clicks * {of_base}
        FROM {{base}} b JOIN {{last_events}} l ON b.video_id = l.video_id
        """,
    )
    return ROWS, chosen.facts


JOB = Job(
    VIDEO_COUNTS,
    inputs=(IMPRESSIONS, CLICKS),
    compute=partial(on_duckdb, build=build),
    distribute=partial(on_spark, build=build),
    settings=lambda s: s.statistics.half_life,
    code=(
        "spark_jobs.video_counts",
        "vidtopics.jobs.increments",
        "vidtopics.jobs.sql",
        "vidtopics.rates",
    ),
    check=require_live_videos,
    empty="no impressions yet",
)

if __name__ == "__main__":
    main(JOB)
