"""video_statistics: exposures and clicks before the as-of time."""

from __future__ import annotations

from spark_jobs.job import Computed, Job, Run, main
from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_CATALOG, VIDEO_STATISTICS


def compute(run: Run) -> Computed:
    """Count what was shown and clicked strictly before the as-of time."""
    from pyspark.sql import functions as F

    from spark_jobs.frames import live_videos

    shown = run.frame(IMPRESSIONS).select("event_id", "video_id")
    clicked = run.frame(CLICKS).select("event_id", F.lit(1).alias("clicked"))
    counts = (
        shown.join(clicked, "event_id", "left")
        .groupBy("video_id")
        .agg(F.count("*").alias("video_exposures"), F.count("clicked").alias("video_clicks"))
    )
    rows = live_videos(run).select("video_id").join(counts, "video_id", "left").fillna(0)
    left_out = [] if run.has_events(IMPRESSIONS) else ["no impressions yet: every count is 0"]
    return Computed(rows, left_out=left_out)


JOB = Job(
    VIDEO_STATISTICS,
    inputs=(VIDEO_CATALOG, IMPRESSIONS, CLICKS),
    compute=compute,
    settings=lambda s: None,
    code=("spark_jobs.video_statistics", "spark_jobs.frames"),
)

if __name__ == "__main__":
    main(JOB)
