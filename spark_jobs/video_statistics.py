"""video_statistics: exposures and clicks of live videos before the as-of time."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG, VIDEO_COUNTS, VIDEO_STATISTICS
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import LastResult, exclude, select

COUNTS = ["video_exposures", "video_clicks"]


def compute(run: Run) -> Computed:
    """The counts of videos that aren't taken down; 0, without decayed ones, where never shown."""
    last = LastResult.of(run, JOB, VIDEO_COUNTS)
    reused = last.rows(without=last.changed(VIDEO_COUNTS)["video_id"])
    reused = select(reused, "video_id", run.live_video_ids)
    live = pa.table({"video_id": run.live_video_ids})
    new = exclude(live, "video_id", reused["video_id"])
    rows = new.join(run.read(VIDEO_COUNTS), "video_id", join_type="left outer")
    for name in COUNTS:
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, name, pc.fill_null(rows[name], 0))
    return Computed(rows, left_out=_left_out(run), reused=reused)


def distribute(run: Run) -> Computed:
    """The same on executors."""
    from vidtopics.jobs.frames import live_videos

    rows = live_videos(run).join(run.frame(VIDEO_COUNTS), "video_id", "left").fillna(0, COUNTS)
    return Computed(rows, left_out=_left_out(run))


def _left_out(run: Run) -> list[str]:
    return [] if run.has_events(IMPRESSIONS) else ["no impressions yet: every count is 0"]


JOB = Job(
    VIDEO_STATISTICS,
    inputs=(VIDEO_CATALOG, VIDEO_COUNTS),
    compute=compute,
    distribute=distribute,
    settings=lambda s: None,
    code=("spark_jobs.video_statistics", "vidtopics.jobs.frames", "vidtopics.jobs.inputs"),
)

if __name__ == "__main__":
    main(JOB)
