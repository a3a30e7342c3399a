"""video_counts: exposures and clicks of every video in the log before the as-of time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, VIDEO_COUNTS
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.decayed_sums import Sums, sum_events
from vidtopics.jobs.increments import plan
from vidtopics.jobs.job import Job, Run, main
from vidtopics.jobs.sql import Engine, on_duckdb, on_spark

EVENTS = f"""
SELECT video_id, unix_micros({EVENT_TIME}) AS us, 1 AS shown, 0 AS clicked FROM {{impressions}}
UNION ALL
SELECT video_id, unix_micros({EVENT_TIME}) AS us, 0 AS shown, 1 AS clicked FROM {{clicks}}
"""
SUMS = (
    Sums("shown", "video_exposures", "video_decayed_exposures", "BIGINT"),
    Sums("clicked", "video_clicks", "video_decayed_clicks", "BIGINT"),
)


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """Add the new events of each video that has any; the others' rows stay as they are.

    Decayed counts hold as of the video's last event, so that a run without one changes nothing.
    """
    chosen = plan(run, JOB, IMPRESSIONS, CLICKS)
    for log in (IMPRESSIONS, CLICKS):
        engine.log(log.name, log, chosen.seen, chosen.new_rows(log))
    engine.view("events", EVENTS, reused=True)
    engine.base("base", VIDEO_COUNTS, chosen, of="SELECT DISTINCT video_id FROM {events}")
    half_life = run.settings.statistics.half_life
    rows = sum_events(engine, "video_id", "video_decayed_at", SUMS, half_life)
    return rows, chosen.facts


JOB = Job(
    VIDEO_COUNTS,
    inputs=(IMPRESSIONS, CLICKS),
    compute=partial(on_duckdb, build=build),
    distribute=partial(on_spark, build=build),
    settings=lambda s: s.statistics.half_life,
    code=(
        "spark_jobs.video_counts",
        "vidtopics.jobs.decayed_sums",
        "vidtopics.jobs.increments",
        "vidtopics.jobs.sql",
        "vidtopics.rates",
    ),
    check=require_live_videos,
    empty="no impressions yet",
)

if __name__ == "__main__":
    main(JOB)
