"""user_recent_clicks: the last N_1 videos that each user clicked, newest first (III-B1)."""

from __future__ import annotations

from vidtopics.contracts import CLICKS, EVENT_TIME, USER_RECENT_CLICKS
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.increments import connect, log_frame, plan, view_rows
from vidtopics.jobs.job import Computed, Job, Run, main

NEWEST = f"""
WITH last_clicks AS (
  SELECT *, ROW_NUMBER() OVER (
    PARTITION BY user_id, video_id ORDER BY {EVENT_TIME} DESC, event_id DESC) AS place_of_video
  FROM (SELECT user_id, video_id, {EVENT_TIME}, event_id FROM {{new_clicks}}
    UNION ALL SELECT user_id, video_id, {EVENT_TIME}, event_id FROM {{late_users_clicks}})
), newest AS (
  SELECT user_id, video_id, ROW_NUMBER() OVER (
    PARTITION BY user_id ORDER BY {EVENT_TIME} DESC, event_id DESC) AS place
  FROM last_clicks WHERE place_of_video = 1
), older AS (  -- in an earlier list, and not clicked again
  SELECT b.user_id, b.video_id, b.place FROM {{base}} b
  LEFT JOIN newest n ON b.user_id = n.user_id AND b.video_id = n.video_id
  WHERE n.video_id IS NULL
)
SELECT user_id, video_id, place FROM (
  SELECT user_id, video_id, ROW_NUMBER() OVER (
    PARTITION BY user_id ORDER BY is_older, place) AS place
  FROM (SELECT user_id, video_id, 0 AS is_older, place FROM newest
    UNION ALL SELECT user_id, video_id, 1 AS is_older, place FROM older)) ranked
WHERE place <= {{limit}}
"""
"""Lists of users with new clicks, one row a place, for Spark and DuckDB.

New clicks stand before the earlier list, whose clicks are all older. A user with a click that came
late, older than the earlier run, is counted anew from all clicks that the run sees: these hold
every video of the earlier list.
"""


ALL_LISTS = f"""
SELECT user_id, list(video_id ORDER BY place) AS recent_video_ids
FROM ({NEWEST}) changed GROUP BY user_id
UNION ALL SELECT user_id, recent_video_ids FROM earlier ANTI JOIN new_clicks USING (user_id)
"""
"""The lists of all users, for DuckDB."""


def compute(run: Run) -> Computed:
    """A video counts at its last click; at one microsecond the greater event_id is newer."""
    chosen = plan(run, JOB, CLICKS)
    at_us = chosen.base_seen.at_us if chosen.base_seen else -(2**62)
    version = chosen.base.version if chosen.base else 0
    with connect(run) as con:
        view_rows(con, "new_clicks", run, CLICKS, chosen.seen, chosen.new_rows(CLICKS))
        view_rows(con, "seen_clicks", run, CLICKS, chosen.seen, chosen.seen.rows(CLICKS))
        columns = ["user_id", "recent_video_ids"]
        con.register(
            "earlier", run.tables.read(USER_RECENT_CLICKS, columns=columns, version=version)
        )
        con.execute(
            "CREATE VIEW late_users_clicks AS FROM seen_clicks SEMI JOIN (SELECT user_id FROM"
            f" new_clicks WHERE epoch_us({EVENT_TIME}) < {at_us}) late USING (user_id)"
        )
        con.execute(
            "CREATE VIEW base AS SELECT user_id, unnest(recent_video_ids) AS video_id,"
            " unnest(range(len(recent_video_ids))) AS place"
            " FROM earlier SEMI JOIN new_clicks USING (user_id)"
        )
        names = {name: name for name in ("new_clicks", "late_users_clicks", "base")}
        limit = run.settings.recall.recent_clicks
        rows = con.sql(ALL_LISTS.format(limit=limit, **names)).to_arrow_table()
    return Computed(rows, facts=chosen.facts)


def distribute(run: Run) -> Computed:
    """The same on executors."""
    from pyspark.sql import functions as F

    from vidtopics.tables.spark_reader import at_version

    chosen = plan(run, JOB, CLICKS)
    base = chosen.base
    new = log_frame(run, CLICKS, chosen.seen, chosen.new_rows(CLICKS)).persist()
    at_us = chosen.base_seen.at_us if chosen.base_seen else -(2**62)
    late = new.filter(F.unix_micros(EVENT_TIME) < at_us).select("user_id").distinct()
    before = at_version(run.tables, USER_RECENT_CLICKS, base.version if base else 0)
    before = before.select("user_id", "recent_video_ids")
    users = new.select("user_id").distinct()
    late_users_clicks = new.limit(0)
    if not late.isEmpty():
        seen = log_frame(run, CLICKS, chosen.seen, chosen.seen.rows(CLICKS))
        late_users_clicks = seen.join(late, "user_id", "left_semi")
    places = run.spark.sql(
        NEWEST,
        limit=run.settings.recall.recent_clicks,
        new_clicks=new,
        late_users_clicks=late_users_clicks,
        base=before.join(users, "user_id", "left_semi").select(
            "user_id", F.posexplode("recent_video_ids").alias("place", "video_id")
        ),
    )
    newest_first = F.array_sort(F.collect_list(F.struct("place", "video_id")))["video_id"]
    changed = places.groupBy("user_id").agg(newest_first.alias("recent_video_ids"))
    rows = before.join(users, "user_id", "left_anti").unionByName(changed).persist()
    return Computed(rows, facts=chosen.facts, close=lambda: (rows.unpersist(), new.unpersist()))


JOB = Job(
    USER_RECENT_CLICKS,
    inputs=(CLICKS,),
    compute=compute,
    distribute=distribute,
    settings=lambda s: s.recall.recent_clicks,
    code=("spark_jobs.user_recent_clicks", "vidtopics.jobs.increments"),
    check=require_live_videos,
    empty="no clicks yet",
)

if __name__ == "__main__":
    main(JOB)
