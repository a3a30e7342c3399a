"""Deliveries, the as-of dates of a backfill, and the simulated world."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from vidtopics.settings.section import Positive, Section, Share


class IngestSettings(Section):
    """Reading a delivery."""

    max_rejected_share: Share = 0.05
    """Above this share of refused rows in a file the job stops and publishes nothing."""
    max_reused_share: Share = 0.01
    """Above this share of rows with another event's id the job stops: the file's ids restart."""
    max_image_pixels: Positive = 50_000_000
    """A cover that claims more is treated as a decompression bomb."""
    cover_buckets: tuple[str, ...] = ()
    """Buckets and prefixes (`s3://bucket/covers`) in which a catalogue's covers may lie."""
    batch_rows: Positive = 200_000
    """Rows held in memory at once."""
    click_rating: float = 4.0
    """MovieLens: a rating of this or more stands for a click."""


class ScheduleSettings(Section):
    """The as-of dates of a backfill."""

    as_of_dates: Positive = 3
    """Runs at this many quantiles of impression time, the last at its end."""
    delay: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(hours=1)
    """In a backfill, a value becomes known this long after its as-of time."""


class SimulationSettings(Section):
    """The simulated short-video world (`docs/simulation.md` has the equations)."""

    users: Positive = 3_000
    videos: Positive = 2_000
    days: Positive = 14
    """All of them are in the log; in the first, users have little history yet."""
    primary_classes: Positive = 10
    secondary_classes: Positive = 40
    topics: Positive = 60
    tags: Positive = 1_200
    content_noise: Annotated[float, Field(ge=0)] = 0.3
    """Expected length of what sets a video's content apart from its topic's centre (length 1)."""
    sharpness: Annotated[float, Field(ge=0)] = 8.0
    """How fast affinity falls with the cosine between a video's taste and a user's interest."""
    popularity_exponent: Annotated[float, Field(ge=0)] = 1.4
    """Power of recent clicks that popular slots are drawn in proportion to."""
    random_click_rate: Annotated[float, Field(gt=0, lt=1)] = 0.42
    """Mean click probability of random users and videos at the first rank; a constant in all users'
    bias is fitted to it, for each world."""
    image_noise: Share = 0.25
    """e_I: share of covers drawn for another topic."""
    title_noise: Share = 0.12
    """e_T: share of titles written for another topic."""
    tag_noise: Share = 0.20
    """e_G: share of wrong tags."""
    visible_taste: Share = 0.7
    """eta: share of taste that content explains."""
    taste_follows: Literal["content", "covers", "tags", "nothing"] = "content"
    """Whose topic that share of a video's taste has: the video's own, the one that its cover shows,
    the likeliest by its tags, or one that nothing shows."""
    slate: Positive = 8
    cover_pixels: Positive = 160
    """Height and width of a cover; covers are drawn only if `covers` is true."""
    covers: bool = True
    start: str = "2026-01-01T00:00:00Z"
