"""user_statistics: what each user was shown and clicked, and what was to be expected of it."""

from __future__ import annotations

from collections.abc import Mapping

from spark_jobs.video_counts import JOB as COUNTING
from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, USER_STATISTICS
from vidtopics.jobs.decayed_sums import Sums, sum_events
from vidtopics.jobs.increments import plan
from vidtopics.jobs.job import Run, main
from vidtopics.jobs.sql import Engine
from vidtopics.jobs.user_events import (
    job_of_events,
    name_expected,
    name_new_events,
)

EVENTS = f"""
SELECT user_id, us, 1 AS shown, 0 AS clicked, expected FROM {{expected}}
UNION ALL SELECT user_id, unix_micros({EVENT_TIME}) AS us, 0 AS shown, 1 AS clicked,
  CAST(0 AS DOUBLE) AS expected FROM {{new_clicks}}
"""
SUMS = (
    Sums("shown", "user_exposures", "user_decayed_exposures", "BIGINT"),
    Sums("clicked", "user_clicks", "user_decayed_clicks", "BIGINT"),
    Sums("expected", "user_expected_clicks", "user_decayed_expected", "FLOAT"),
)


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """Add the new events of each user who has any; the others' rows stay as they are."""
    chosen = plan(run, JOB, IMPRESSIONS, CLICKS)
    name_new_events(engine, chosen)
    engine.base("base", USER_STATISTICS, chosen, of="SELECT user_id FROM {changed}")
    name_expected(run, engine, chosen, plan(run, COUNTING, IMPRESSIONS, CLICKS))
    engine.view("events", EVENTS)
    half_life = run.settings.users.half_life
    return sum_events(engine, "user_id", "user_decayed_at", SUMS, half_life), chosen.facts


JOB = job_of_events(USER_STATISTICS, build, empty="no impressions yet")

if __name__ == "__main__":
    main(JOB)
