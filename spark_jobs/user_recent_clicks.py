"""user_recent_clicks: the last N_1 videos that each user clicked, newest first (III-B1)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vidtopics.contracts import CLICKS, EVENT_TIME, USER_RECENT_CLICKS
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.increments import plan
from vidtopics.jobs.job import Job, Run, main
from vidtopics.jobs.sql import Engine, Item, on_duckdb, on_spark

LISTS = {"video_id": "recent_video_ids", "us": "recent_times", "watch": "recent_watch_seconds"}
ITEMS: Mapping[str, Item] = {"video_id": "STRING", "us": "BIGINT", "watch": "FLOAT"}
# An earlier list holds the newest videos of then, so that a video not in it, with nothing newer
# since, is none of the newest now: the list and what came since are enough, late clicks included.
CLICKED = f"""
SELECT user_id, video_id, unix_micros({EVENT_TIME}) AS us,
  COALESCE(watch_seconds, CAST(-1 AS FLOAT)) AS watch FROM {{new_clicks}}
UNION ALL SELECT user_id, video_id, us, watch FROM {{base_rows}}
"""
LAST_CLICKS = """
SELECT * FROM (SELECT *, ROW_NUMBER() OVER (
  PARTITION BY user_id, video_id ORDER BY us DESC, watch DESC) AS of_video FROM {clicked}) ranked
WHERE of_video = 1
"""
PLACED = """
SELECT *, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY us DESC, video_id DESC) AS place
FROM {last_clicks}
"""


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """A video counts at its last click; at one microsecond the greater video_id is newer."""
    chosen = plan(run, JOB, CLICKS)
    engine.log("new_clicks", CLICKS, chosen.seen, chosen.new_rows(CLICKS))
    users = "SELECT DISTINCT user_id FROM {new_clicks}"
    engine.base("base", USER_RECENT_CLICKS, chosen, of=users)
    engine.view("base_rows", engine.as_rows("base", "user_id", LISTS))
    engine.view("clicked", CLICKED)
    engine.view("last_clicks", LAST_CLICKS)
    engine.view("placed", PLACED)
    limit = run.settings.recall.recent_clicks
    lists = ", ".join(f"{engine.in_order(c, ITEMS[c])} AS {name}" for c, name in LISTS.items())
    rows = f"""
    SELECT user_id, {lists} FROM {{placed}} WHERE place <= {limit} GROUP BY user_id
    """
    return rows, chosen.facts


JOB = Job(
    USER_RECENT_CLICKS,
    inputs=(CLICKS,),
    compute=partial(on_duckdb, build=build),
    distribute=partial(on_spark, build=build),
    settings=lambda s: s.recall.recent_clicks,
    code=("spark_jobs.user_recent_clicks", "vidtopics.jobs.increments", "vidtopics.jobs.sql"),
    check=require_live_videos,
    empty="no clicks yet",
)

if __name__ == "__main__":
    main(JOB)
