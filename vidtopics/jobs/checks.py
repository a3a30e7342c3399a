"""What must hold before any job of a run starts: live videos, training videos, enough for clusters.

All is read with Arrow, so that a run that can't succeed ends before Spark or torch is loaded, and
before a table is written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VIDEO_CATALOG
from vidtopics.errors import SettingsError, TableError, explain
from vidtopics.times import moment

if TYPE_CHECKING:
    from vidtopics.jobs.job import Run

CHUNK_VIDEOS = 1_000


def require_live_videos(run: Run) -> None:
    """TableError where no video is live as of the run; it says since when there are any."""
    if len(run.live_video_ids):
        return
    video_count = len(run.read(VIDEO_CATALOG, "video_id"))
    if video_count:
        raise TableError(
            explain(
                f"video_catalog as of {moment(run.as_of_us)}",
                expected="a live video",
                found=f"{video_count} videos, all taken down by then",
                mend="choose an earlier --as-of, or ingest videos that aren't taken down",
            )
        )
    rows = run.tables.read(VIDEO_CATALOG, columns=[EVENT_TIME, CREATED_TIME])
    if not len(rows):
        raise TableError(
            explain(
                run.tables.uri(VIDEO_CATALOG),
                expected="videos",
                found="none",
                mend="run `vidtopics ingest` with a videos file that has rows",
            )
        )
    known_from = pc.max_element_wise(*(rows[name].cast(pa.int64()) for name in rows.column_names))
    raise TableError(
        explain(
            f"video_catalog as of {moment(run.as_of_us)}",
            expected="a live video to work on",
            found=f"0 videos: the first is known from {moment(pc.min(known_from).as_py())}",
            mend="choose a later --as-of",
        )
    )


def require_training_videos(run: Run) -> None:
    """TableError where every live video is held out, so that a first model has nothing to learn."""
    from vidtopics.jobs.inputs import held_out, live_videos

    contents = live_videos(run, "content_hash")["content_hash"]
    share = run.settings.content.holdout_share
    for start in range(0, len(contents), CHUNK_VIDEOS):  # the first chunk nearly always has one
        if not held_out(contents.slice(start, CHUNK_VIDEOS), run.settings.content).all():
            return
    videos = "1 video, which is" if len(contents) == 1 else f"{len(contents)} videos, all of them"
    raise TableError(
        explain(
            f"a training as of {moment(run.as_of_us)}",
            expected="a video to train on",
            found=f"{videos} held out",
            mend=f"lower content.holdout_share ({share:g}), or ingest more videos",
        )
    )


def require_videos_for_clusters(run: Run) -> None:
    """SettingsError where there are fewer live videos than clusters."""
    clusters, video_count = run.settings.topics.clusters, len(run.live_video_ids)
    if clusters > video_count:
        raise SettingsError(
            explain(
                "topics.clusters",
                expected=f"at most {video_count}, the live videos as of {moment(run.as_of_us)}",
                found=str(clusters),
                mend="lower topics.clusters, or ingest more videos",
            )
        )
