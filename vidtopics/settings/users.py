"""What is known of users and videos, and what is recommended from it (III-B)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from vidtopics.settings.section import Count, Positive, Section, Share


class StatisticsSettings(Section):
    """Smoothed click-through rate."""

    prior_exposures: Annotated[float, Field(gt=0)] = 10.0
    """w in (clicks + w * global CTR) / (exposures + w)."""
    half_life: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=7)
    """After which an event counts half in a video's decayed counts, by which queues are ordered."""


class UserSettings(Section):
    """What is served of each user beside recent clicks and skips."""

    half_life: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=7)
    """After which an event counts half in decayed counts."""
    topics: Positive = 64
    """Topics of a user that are served, by falling decayed exposures."""
    parents: Positive = 16
    """Parent topics, likewise."""


class QueueSettings(Section):
    """Topic queues (III-B1)."""

    min_exposures: Count = 10
    """tau_1: a video with fewer is not judged; it is fresh, or in no queue of a topic."""
    min_ctr: Share = 0.07
    """tau_2: a judged video with a lower click-through rate leaves its queues."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.75
    """Probability that the rate is below tau_2 (Beta posterior) from which a video leaves."""
    fresh_age: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=7)
    """Time since publication within which a video with fewer than tau_1 exposures is fresh."""
    fresh_pool: Count = 100
    """Fresh videos of a queue, from which requests draw, at most."""
    refresh: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(seconds=1)
    """Between two looks of `vidtopics events apply` at the queues that readers go by. Where a look
    takes more than a quarter of that, three times as long as it took. The job doesn't go by it."""
    length: Positive = 1_000
    """Judged videos that a queue holds at most. With less than N_3 and what a user has seen
    (2 N_1) the catalogue's queue can't fill up every user's candidates."""


class RecallSettings(Section):
    """Candidate generation (III-B1)."""

    recent_clicks: Positive = 128
    """N_1: clicks that a user's topics are counted over."""
    topics: Positive = 4
    """N_2: topics that candidates come from."""
    candidates: Positive = 600
    """N_3."""
    floor: Share = 0.1
    """Least share of the candidates that each chosen topic gets."""
    fresh_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of a queue that is drawn from its fresh videos, anew for each request."""
    popular_share: Share = 0.9
    """Share of the candidates from what is popular in the whole catalogue, tilted to the user's
    topics, in turn with those of their queues; 0: only where these leave places open."""
    parent_prior: Annotated[float, Field(ge=0)] = 50
    """Clicks, spread as all users' are, that count beside the user's own in a topic or parent
    topic: how far the user's clicks are trusted against what is popular."""
    leave_out: Literal["seen", "clicked"] = "seen"
    """Which of the user's recent videos don't come back: all that were shown, or clicked ones."""
    live: bool = True
    """Whether a request sees the events since the release, where they are applied."""
