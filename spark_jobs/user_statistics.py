"""user_statistics: what each user was shown and clicked, and what was to be expected of it."""

from __future__ import annotations

from collections.abc import Mapping

from spark_jobs.video_counts import JOB as COUNTING
from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, USER_STATISTICS
from vidtopics.jobs.increments import plan
from vidtopics.jobs.job import Run, main
from vidtopics.jobs.sql import Engine
from vidtopics.jobs.user_events import (
    job_of_events,
    name_expected,
    name_new_events,
)
from vidtopics.rates import halved

EVENTS = f"""
SELECT user_id, us, 1 AS shown, 0 AS clicked, expected FROM {{expected}}
UNION ALL SELECT user_id, unix_micros({EVENT_TIME}) AS us, 0 AS shown, 1 AS clicked,
  CAST(0 AS DOUBLE) AS expected FROM {{new_clicks}}
"""
LAST = """
SELECT e.user_id, GREATEST(MAX(e.us), COALESCE(MAX(b.user_decayed_at), MAX(e.us))) AS last_us
FROM {events} e LEFT JOIN {base} b ON e.user_id = b.user_id GROUP BY e.user_id
"""
ROWS = """
SELECT user_id, CAST(SUM(shown) AS BIGINT) AS user_exposures,
  CAST(SUM(clicked) AS BIGINT) AS user_clicks, CAST(SUM(expected) AS FLOAT) AS user_expected_clicks,
  CAST(SUM(decayed_shown) AS FLOAT) AS user_decayed_exposures,
  CAST(SUM(decayed_clicked) AS FLOAT) AS user_decayed_clicks,
  CAST(SUM(decayed_expected) AS FLOAT) AS user_decayed_expected, MAX(last_us) AS user_decayed_at
FROM {parts} GROUP BY user_id
"""


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """Add the new events of each user who has any; the others' rows stay as they are."""
    chosen = plan(run, JOB, IMPRESSIONS, CLICKS)
    name_new_events(engine, chosen)
    engine.base("base", USER_STATISTICS, chosen, of="SELECT user_id FROM {changed}")
    name_expected(run, engine, chosen, plan(run, COUNTING, IMPRESSIONS, CLICKS))
    engine.view("events", EVENTS)
    engine.view("last_events", LAST, reused=True)
    half_life = run.settings.users.half_life
    of_event = halved("us", "last_us", half_life)
    of_base = halved("user_decayed_at", "last_us", half_life)
    engine.view(
        "parts",
        f"""
        SELECT e.user_id, shown, clicked, expected, last_us, shown * {of_event} AS decayed_shown,
          clicked * {of_event} AS decayed_clicked, expected * {of_event} AS decayed_expected
        FROM {{events}} e JOIN {{last_events}} l ON e.user_id = l.user_id
        UNION ALL
        SELECT b.user_id, user_exposures, user_clicks, CAST(user_expected_clicks AS DOUBLE),
          last_us, user_decayed_exposures * {of_base}, user_decayed_clicks * {of_base},
          user_decayed_expected * {of_base}
        FROM {{base}} b JOIN {{last_events}} l ON b.user_id = l.user_id
        """,
    )
    return ROWS, chosen.facts


JOB = job_of_events(USER_STATISTICS, build, empty="no impressions yet")

if __name__ == "__main__":
    main(JOB)
