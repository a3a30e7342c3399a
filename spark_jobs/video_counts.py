"""video_counts: exposures and clicks of every video in the log before the as-of time."""

from __future__ import annotations

from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_COUNTS
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.increments import Plan, connect, log_frame, plan, view_rows
from vidtopics.jobs.job import Computed, Job, Run, main

COUNT = """
SELECT video_id, CAST(SUM(exposures) AS BIGINT) AS video_exposures,
  CAST(SUM(clicks) AS BIGINT) AS video_clicks
FROM (
  SELECT video_id, video_exposures AS exposures, video_clicks AS clicks FROM {base}
  UNION ALL SELECT video_id, 1 AS exposures, 0 AS clicks FROM {impressions}
  UNION ALL SELECT video_id, 0 AS exposures, 1 AS clicks FROM {clicks})
GROUP BY video_id
"""
"""The counts of an earlier run and the events since, for Spark and DuckDB."""


def compute(run: Run) -> Computed:
    """Add the events that came since the last run to its counts; the others stay as they are."""
    chosen = plan(run, JOB, IMPRESSIONS, CLICKS)
    with connect(run) as con:
        for log in (IMPRESSIONS, CLICKS):
            view_rows(con, log.name, run, log, chosen.seen, chosen.new_rows(log))
        columns = [column.name for column in VIDEO_COUNTS.all_columns]
        counts = run.tables.as_of(VIDEO_COUNTS, *_times(chosen), columns=columns)
        con.register("counts", counts)
        con.execute(
            f"CREATE TEMP TABLE shown AS SELECT DISTINCT video_id FROM (SELECT video_id FROM"
            f" {IMPRESSIONS.name} UNION ALL SELECT video_id FROM {CLICKS.name})"
        )
        con.execute("CREATE VIEW base AS FROM counts SEMI JOIN shown USING (video_id)")
        names = {"base": "base", "impressions": IMPRESSIONS.name, "clicks": CLICKS.name}
        rows = con.sql(COUNT.format(**names)).to_arrow_table()
        reused = con.sql("FROM counts ANTI JOIN shown USING (video_id)").to_arrow_table()
    return Computed(rows, facts=chosen.facts, left_out=_left_out(run), reused=reused)


def distribute(run: Run) -> Computed:
    """The same on executors."""
    chosen = plan(run, JOB, IMPRESSIONS, CLICKS)
    impressions, clicks = (
        log_frame(run, log, chosen.seen, chosen.new_rows(log)) for log in (IMPRESSIONS, CLICKS)
    )
    counts = run.tables.spark_as_of(VIDEO_COUNTS, *_times(chosen))
    rows = run.spark.sql(COUNT, base=counts, impressions=impressions, clicks=clicks)
    return Computed(rows, facts=chosen.facts, left_out=_left_out(run))


def _times(chosen: Plan) -> tuple[int, int]:
    """As of when, and as known when, the counts to go on from are; before all without any."""
    return (chosen.base.as_of_us, chosen.base.created_us) if chosen.base else (-1, -1)


def _left_out(run: Run) -> list[str]:
    return [] if run.has_events(IMPRESSIONS) else ["no impressions yet"]


JOB = Job(
    VIDEO_COUNTS,
    inputs=(IMPRESSIONS, CLICKS),
    compute=compute,
    distribute=distribute,
    settings=lambda s: None,
    code=("spark_jobs.video_counts", "vidtopics.jobs.increments"),
    check=require_live_videos,
    empty="no impressions yet",
)

if __name__ == "__main__":
    main(JOB)
