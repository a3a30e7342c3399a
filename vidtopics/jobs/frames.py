"""Frames that several jobs start from."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.job import Run
from vidtopics.rates import Prior
from vidtopics.settings import StatisticsSettings


def live_videos(run: Run, *columns: str) -> DataFrame:
    """IDs, and other columns, of the catalogue's videos that aren't taken down as of the run."""
    # The first to need a session, which columns go by.
    videos = run.frame(VIDEO_CATALOG, "video_id", "removed_at", *columns)
    removed = F.unix_micros("removed_at")
    return videos.filter(removed.isNull() | (removed > run.as_of_us)).drop("removed_at")


def tags_of_live_videos(run: Run) -> DataFrame:
    """(video_id, tag) of live videos, each pair once."""
    return run.frame(VIDEO_TAGS, "video_id", "tag").join(live_videos(run), "video_id")


def statistics_prior(statistics: DataFrame, settings: StatisticsSettings) -> Prior:
    """The prior of click-through rates: that of all videos with statistics together."""
    totals = statistics.agg(F.sum("video_clicks"), F.sum("video_exposures")).first()
    assert totals is not None
    return Prior.of_totals(totals[0] or 0, totals[1] or 0, exposures=settings.prior_exposures)
