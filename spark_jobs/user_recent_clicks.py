"""user_recent_clicks: the last N_1 videos that each user clicked, newest first (III-B1)."""

from __future__ import annotations

from dataclasses import replace

from spark_jobs.checks import require_live_videos
from spark_jobs.job import Computed, Job, Run, main
from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, USER_RECENT_CLICKS

# A log's frame comes without its times, and here the click's orders the list.
TIMED_CLICKS = replace(CLICKS, columns=(*CLICKS.columns, CLICKS.column(EVENT_TIME)))


def compute(run: Run) -> Computed:
    """A video counts at its last click; at one microsecond the greater event_id is newer."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    shown = run.frame(IMPRESSIONS).select("event_id", "user_id", "video_id")
    clicks = run.tables.spark_as_of(TIMED_CLICKS, run.as_of_us, run.known_by(CLICKS))
    last = (
        clicks.join(shown, "event_id")
        .groupBy("user_id", "video_id")
        .agg(F.max(F.struct(EVENT_TIME, "event_id")).alias("click"))
    )
    place = F.row_number().over(Window.partitionBy("user_id").orderBy(F.desc("click")))
    recent = last.withColumn("place", place).filter(
        F.col("place") <= run.settings.recall.recent_clicks
    )
    newest_first = F.array_sort(F.collect_list(F.struct("place", "video_id")))["video_id"]
    rows = recent.groupBy("user_id").agg(newest_first.alias("recent_video_ids")).persist()
    return Computed(rows, close=rows.unpersist)


JOB = Job(
    USER_RECENT_CLICKS,
    inputs=(IMPRESSIONS, CLICKS),
    compute=compute,
    settings=lambda s: s.recall.recent_clicks,
    code=("spark_jobs.user_recent_clicks",),
    check=require_live_videos,
    empty="no clicks yet",
)

if __name__ == "__main__":
    main(JOB)
