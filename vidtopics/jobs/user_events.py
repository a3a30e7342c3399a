"""What came of users since an earlier run, and how many clicks were to be expected of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, VIDEO_COUNTS, Table
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.increments import EVERY_ROW, NO_ROW, Condition, Plan, Seen
from vidtopics.jobs.job import Job, Run
from vidtopics.jobs.sql import Build, Engine, on_duckdb, on_spark

DAY_US = 86_400_000_000
CHANGED_USERS = """
SELECT DISTINCT user_id FROM (
  SELECT user_id FROM {new_impressions} UNION ALL SELECT user_id FROM {new_clicks}) events
"""


def job_of_events(table: Table, build: Build, *inputs: Table, empty: str) -> Job:
    """The job of a table of users that adds what came since to the last result, on either engine.

    `inputs` are read beside both logs and the counts that expected clicks come from.
    """
    return Job(
        table,
        inputs=(IMPRESSIONS, CLICKS, VIDEO_COUNTS, *inputs),
        compute=partial(on_duckdb, build=build),
        distribute=partial(on_spark, build=build),
        settings=lambda s: (s.users.half_life, s.statistics),
        code=(
            f"spark_jobs.{table.name}",
            "spark_jobs.video_counts",
            "vidtopics.jobs.decayed_sums",
            "vidtopics.jobs.increments",
            "vidtopics.jobs.sql",
            "vidtopics.jobs.user_events",
            "vidtopics.rates",
        ),
        check=require_live_videos,
        empty=empty,
    )


def name_new_events(engine: Engine, chosen: Plan) -> None:
    """Name `new_impressions` and `new_clicks`, the rows of both logs that a plan counts.

    And `changed`, the users who have any.
    """
    for log in (IMPRESSIONS, CLICKS):
        engine.log(f"new_{log.name}", log, chosen.seen, chosen.new_rows(log))
    engine.view("changed", CHANGED_USERS, reused=True)


def since(seen: Seen, log: Table, first_us: int | None) -> Condition:
    """The rows of a log that a run sees, from a time on; none where it is None.

    >>> from vidtopics.contracts import CLICKS
    >>> str(since(Seen(86_400_000_000, 2**62, {"clicks": ("id", 3)}), CLICKS, None))
    'FALSE'
    """
    if first_us is None:
        return NO_ROW
    return seen.rows(log) & replace(seen, at_us=first_us).later_rows(log)


def name_expected(run: Run, engine: Engine, chosen: Plan, counts: Plan) -> None:
    """Name `expected`: the new impressions, each with its video's rate at the start of its day.

    A video's counts then are those of `video_counts`, less what the log has from that day on. So
    only the partitions since the earliest new impression are read, yesterday's as a rule.

    Args:
        run: the run.
        engine: has the new events.
        chosen: what the job counts.
        counts: as :func:`vidtopics.jobs.increments.plan` gives it for `video_counts`: its last
            result, and what it lacks of what this run sees (nothing, where jobs run in order).
    """
    engine.rows_before("counts", VIDEO_COUNTS, counts)
    first_us = engine.value(f"SELECT MIN(unix_micros({EVENT_TIME})) FROM {{new_impressions}}")
    first_us = None if first_us is None else first_us // DAY_US * DAY_US
    for log in (IMPRESSIONS, CLICKS):
        uncounted = counts.base_seen.later_rows(log) if counts.base_seen else EVERY_ROW
        lacking = chosen.seen.rows(log) & uncounted
        where = since(chosen.seen, log, first_us) | lacking
        engine.log(f"since_{log.name}", log, chosen.seen, where)
        engine.view(
            f"daily_{log.name}",
            f"SELECT video_id, CAST({EVENT_TIME} AS DATE) AS day,"
            f" SUM(CASE WHEN {uncounted} THEN 0 ELSE 1 END) AS counted,"
            f" SUM(CASE WHEN {uncounted} THEN 1 ELSE 0 END) AS uncounted"
            f" FROM {{since_{log.name}}} GROUP BY video_id, CAST({EVENT_TIME} AS DATE)",
        )
    engine.view("daily", DAILY, reused=True)
    engine.view("video_before", _before("video_id"))
    engine.view("all_before", _before(""), reused=True)
    engine.view("expected", _expected(run.settings.statistics.prior_exposures), reused=True)


DAILY = """
SELECT video_id, day, SUM(shown) AS shown, SUM(clicked) AS clicked,
  SUM(new_shown) AS new_shown, SUM(new_clicked) AS new_clicked
FROM (
  SELECT video_id, day, counted AS shown, 0 AS clicked, uncounted AS new_shown, 0 AS new_clicked
  FROM {daily_impressions}
  UNION ALL SELECT video_id, day, 0 AS shown, counted AS clicked, 0 AS new_shown,
    uncounted AS new_clicked FROM {daily_clicks}) each_log
GROUP BY video_id, day
"""
"""Events of each video and day, those that `counts` has and those that it lacks."""


def _before(key: str) -> str:
    """SQL for the counts at the start of each day: of each video, or of all together."""
    columns = f"{key}, day" if key else "day"
    partition = f"PARTITION BY {key} " if key else ""
    joined = f"LEFT JOIN {{counts}} b ON d.{key} = b.{key}" if key else "CROSS JOIN totals b"

    def at_start(name: str, count: str) -> str:
        return (
            f"CAST(COALESCE(b.{count}, 0)"
            f" - SUM({name}) OVER ({partition}ORDER BY day DESC)"
            f" + SUM(new_{name}) OVER ({partition}ORDER BY day) - new_{name} AS DOUBLE)"
        )

    key_column = f"d.{key}, " if key else ""
    return f"""
    WITH d AS (
      SELECT {columns}, SUM(shown) AS shown, SUM(clicked) AS clicked,
        SUM(new_shown) AS new_shown, SUM(new_clicked) AS new_clicked
      FROM {{daily}} GROUP BY {columns}
    ), totals AS (
      SELECT SUM(video_exposures) AS video_exposures, SUM(video_clicks) AS video_clicks
      FROM {{counts}}
    )
    SELECT {key_column}d.day, {at_start("shown", "video_exposures")} AS exposures,
      {at_start("clicked", "video_clicks")} AS clicks
    FROM d {joined}
    """.replace("OVER (PARTITION BY video_id", "OVER (PARTITION BY d.video_id")


def _expected(prior_exposures: float) -> str:
    """SQL of :func:`vidtopics.rates.smoothed_ctr` for each new impression."""
    rate = "CASE WHEN a.exposures > 0 THEN a.clicks / a.exposures ELSE 0 END"
    return f"""
    SELECT i.user_id, i.video_id, unix_micros(i.{EVENT_TIME}) AS us,
      (v.clicks + {prior_exposures!r} * {rate}) / (v.exposures + {prior_exposures!r}) AS expected
    FROM {{new_impressions}} i
    JOIN {{video_before}} v
      ON i.video_id = v.video_id AND CAST(i.{EVENT_TIME} AS DATE) = v.day
    JOIN {{all_before}} a ON a.day = v.day
    """
