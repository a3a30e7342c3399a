"""What the topic page shows, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

SCALE = 10_000
"""Weights, rates and coordinates are sent as ten-thousandths."""


@dataclass(frozen=True)
class Release:
    """The release that the page shows.

    `mean_topics`: slots in use, on average over the videos that have topics.
    """

    release_id: int
    as_of: datetime
    topic_epoch: int
    mean_topics: float


@dataclass(frozen=True)
class Topic:
    """One topic. `nearest`: videos whose nearest centre it is."""

    topic_id: int
    terms: tuple[str, ...]
    nearest: int
    born: datetime


@dataclass(frozen=True)
class Video:
    """One video: what its source says, its topics by falling weight, its counts if any."""

    video_id: str
    title: str
    cover: str
    primary_classes: tuple[str, ...] = ()
    secondary_classes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    topics: tuple[tuple[int, float], ...] = ()
    below_threshold: bool = False
    exposures: int = 0
    clicks: int = 0
    ctr: float | None = None


@dataclass(frozen=True)
class Queued:
    """One place of a topic's queue."""

    video_id: str
    ctr: float
    exposures: int
    fresh: bool


@dataclass(frozen=True, eq=False)
class PageData:
    """All that the page shows.

    * `centroids`: float32[K, width], one row per topic of `topics`.
    * `videos`: by rising id.
    * `queues`: by topic id, in the queue's order; None where the release has no such table.
    """

    release: Release
    topics: tuple[Topic, ...]
    centroids: NDArray[np.float32]
    videos: tuple[Video, ...]
    queues: Mapping[int, tuple[Queued, ...]] | None


@dataclass(frozen=True)
class Covers:
    """Small covers: base64 of WebP files by place in `PageData.videos`, and width over height."""

    files: Mapping[int, str]
    ratio: float = 1.0


def members(data: PageData) -> dict[int, list[int]]:
    """For each topic its videos, as places in `data.videos`: most central first, ties by id.

    Weights count as the page has them, in ten-thousandths, so that page and list order alike.

    >>> from datetime import UTC
    >>> day = datetime(2026, 1, 1, tzinfo=UTC)
    >>> videos = (Video("a", "A", "", topics=((7, 0.6),)), Video("b", "B", "", topics=((7, 0.9),)))
    >>> topics = (Topic(7, ("cat",), 2, day), Topic(8, (), 0, day))
    >>> centroids = np.eye(2, dtype=np.float32)
    >>> members(PageData(Release(1, day, 1, 1.0), topics, centroids, videos, None))
    {7: [1, 0], 8: []}
    """
    weighted: dict[int, list[tuple[int, int]]] = {topic.topic_id: [] for topic in data.topics}
    for place, video in enumerate(data.videos):
        for topic_id, weight in video.topics:
            weighted[topic_id].append((-round(weight * SCALE), place))
    return {topic_id: [place for _, place in sorted(pairs)] for topic_id, pairs in weighted.items()}
