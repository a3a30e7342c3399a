"""Topics that are born while others live: of videos that match nothing, and of parts of a topic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.topics.kmeans import spherical_kmeans
from producers.topics.rows import Rows
from producers.topics.steps import mean_cosines
from producers.unit_length import to_unit_length
from vidtopics.settings import TopicSettings

UNMATCHED = 4_096
"""Videos without a topic that are compared with each other: 64 MB of cosines."""
MEMBERS = 20_000
"""Videos of a topic that its split is made of."""
ROUNDS = 10
"""Times that a new centre moves to the mean of its videos, at most."""


class Birth(NamedTuple):
    """A new topic.

    Attributes:
        centroid: float32[D], length 1.
        parent: row of the topic that it was a part of; -1 for none.
        remainder: float32[D], the parent's centroid without it; None for none.
    """

    centroid: NDArray[np.float32]
    parent: int = -1
    remainder: NDArray[np.float32] | None = None


def found_topics(
    videos: Rows,
    threshold: NDArray[np.float32],
    min_size: int,
    limit: int,
    rng: np.random.Generator,
) -> list[Birth]:
    """Topics of videos that have none: where at least `min_size` lie within tau_3 of their mean.

    The video with most neighbours leads; it and they are the first members, then those within the
    threshold of the members' mean, until the same ones stay. They leave, and the next leader comes.
    Two videos at cosine tau to one centre have tau squared to each other where they differ in
    independent directions, so that is what makes a neighbour.

    Args:
        videos: U points of length 1, below the threshold of every topic.
        threshold: float32[U], tau_3 of each.
        min_size: videos that a topic has at least.
        limit: topics at most, those with most videos first.
        rng: draws the :data:`UNMATCHED` that are looked at where there are more.

    >>> videos = Rows(np.eye(3, dtype=np.float32)[[0, 1, 1, 2, 0, 1]], np.arange(6))
    >>> births = found_topics(videos, np.full(6, 0.6, np.float32), 2, 9, np.random.default_rng(0))
    >>> [birth.centroid.tolist() for birth in births]
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    drawn = np.arange(videos.count)
    if videos.count > UNMATCHED:
        drawn = rng.choice(videos.count, UNMATCHED, replace=False)
    points, threshold = videos.take(drawn), threshold[drawn]
    near = points @ points.T >= np.maximum(threshold, 0)[:, None] ** 2
    free = np.ones(len(points), bool)
    births: list[Birth] = []
    while len(births) < limit and free.sum() >= min_size:
        neighbours = np.where(free, near @ free.astype(np.float32), 0)
        leader = int(neighbours.argmax())
        if neighbours[leader] < min_size:
            break
        centroid, members = _gather(points, threshold, free & near[leader], free)
        if members.sum() >= min_size:
            births.append(Birth(centroid))
            free &= ~members
        free[leader] = False
    return births


def _gather(
    points: NDArray[np.float32],
    threshold: NDArray[np.float32],
    members: NDArray[np.bool_],
    free: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The mean of the members at length 1, and the free videos within the threshold of it.

    A member is compared with the mean of the others: four videos that have nothing in common lie at
    cosine .5 to the mean of all four.
    """
    for _ in range(ROUNDS):
        total = points[members].sum(axis=0)
        dot, own = points @ total, members.astype(np.float32)
        length = np.sqrt(np.maximum(total @ total - own * (2 * dot - 1), 1e-6))
        before, members = members, free & ((dot - own) / length >= threshold)
        if not members.any() or np.array_equal(members, before):
            break
    return to_unit_length(total[None])[0].astype(np.float32), members


def split_topics(
    videos: Rows,
    labels: NDArray[np.int64],
    cosines: NDArray[np.float32],
    topics: int,
    settings: TopicSettings,
    limit: int,
    rng: np.random.Generator,
) -> list[Birth]:
    """The smaller parts of loose and of overfull topics, split by 2-means.

    Overfull: more than `settings.overfull` times the mean number of videos. Loose: a mean cosine
    below `settings.loose` times the median topic's. Both parts have `settings.min_size` videos at
    least. The topics furthest beyond come first.

    Args:
        videos: N points of length 1, within the threshold of their topic.
        labels: int64[N], row of the nearest topic.
        cosines: float32[N], to its centre.
        topics: K.
        settings: the section `topics`.
        limit: splits at most.
        rng: draws the :data:`MEMBERS` of a topic that are looked at, and seeds.
    """
    if not videos.count:
        return []
    sizes = np.bincount(labels, minlength=topics)
    cohesion = mean_cosines(labels, cosines, topics)
    looseness = np.median(cohesion[sizes > 0]) / np.maximum(cohesion, 1e-6)
    need = np.maximum(sizes / (settings.overfull * sizes.mean()), settings.loose * looseness)
    need[sizes < 2 * settings.min_size] = 0
    births: list[Birth] = []
    for row in np.argsort(-need, kind="stable")[: int((need > 1).sum())].tolist():
        if len(births) >= limit:
            break
        members = np.flatnonzero(labels == row)
        if len(members) > MEMBERS:
            members = rng.choice(members, MEMBERS, replace=False)
        parts = spherical_kmeans(
            videos.take(members), 2, iterations=settings.iterations, seed=int(rng.integers(2**31))
        )
        part_sizes = np.bincount(parts.labels, minlength=2)
        if part_sizes.min() >= settings.min_size:
            larger = int(part_sizes.argmax())
            births.append(Birth(parts.centroids[1 - larger], row, parts.centroids[larger]))
    return births
