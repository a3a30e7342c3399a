"""video_statistics: exposures and clicks of live videos before the as-of time."""

from __future__ import annotations

from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG, VIDEO_COUNTS, VIDEO_STATISTICS
from vidtopics.jobs.job import Computed, Job, Run, main


def compute(run: Run) -> Computed:
    """The counts of videos that aren't taken down; 0 where a video was never shown."""
    from vidtopics.jobs.frames import live_videos

    live = live_videos(run).select("video_id")
    rows = live.join(run.frame(VIDEO_COUNTS), "video_id", "left").fillna(0)
    left_out = [] if run.has_events(IMPRESSIONS) else ["no impressions yet: every count is 0"]
    return Computed(rows, left_out=left_out)


JOB = Job(
    VIDEO_STATISTICS,
    inputs=(VIDEO_CATALOG, VIDEO_COUNTS),
    compute=compute,
    settings=lambda s: None,
    code=("spark_jobs.video_statistics", "vidtopics.jobs.frames"),
)

if __name__ == "__main__":
    main(JOB)
