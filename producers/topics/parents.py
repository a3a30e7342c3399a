"""Groups of topics, about the square root of their number, that keep their IDs like topics do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from producers.unit_length import to_unit_length
from vidtopics.errors import ContractError, explain

LLOYD_STEPS = 100
RESTARTS = 5
TOLERANCE = 0.2
"""The number of groups stays while it is within this share of the square root."""


@dataclass(frozen=True, eq=False)
class Parents:
    """Which group each topic is in.

    Attributes:
        topic_ids: int64[K], ascending.
        parent_ids: int64[K], the parent of each.
        ids: int64[P], the parents, ascending.
        centroids: float32[P, D], length 1.
        next_id: above every parent ID that was ever given.
    """

    topic_ids: NDArray[np.int64]
    parent_ids: NDArray[np.int64]
    ids: NDArray[np.int64]
    centroids: NDArray[np.float32]
    next_id: int

    def of_slots(self, topic_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The parent of each topic of int64[N, slots]; pad -1 stays -1.

        Raises:
            ContractError: a topic has no parent here.

        >>> parents = Parents(np.array([3, 7]), np.array([1, 2]), np.array([1, 2]),
        ...                   np.eye(2, dtype=np.float32), 3)
        >>> parents.of_slots(np.array([[7, 3, -1]])).tolist()
        [[2, 1, -1]]
        """
        place = np.searchsorted(self.topic_ids, topic_ids).clip(max=len(self.topic_ids) - 1)
        unknown = (self.topic_ids[place] != topic_ids) & (topic_ids != -1)
        if unknown.any():
            raise ContractError(
                explain(
                    "parent topics",
                    expected="topics of the model that the parents belong to",
                    found=f"topic {topic_ids[unknown][0]}",
                    mend="assign topics and parents by one model version",
                )
            )
        return np.where(topic_ids == -1, -1, self.parent_ids[place])


def group_topics(
    topic_ids: NDArray[np.int64],
    centroids: NDArray[np.float32],
    sizes: NDArray[np.int64],
    previous: Parents | None = None,
    *,
    seed: int = 0,
) -> Parents:
    """Cluster topics by their centres into about sqrt(K) parents.

    Spherical K-means starts from the previous parents' centres where there are any. Each group
    takes the ID of the previous parent with which it shares most videos (one to one, greatest total
    first: Kuhn 1955); a group that shares none gets a new ID, and IDs are never reused.

    Args:
        topic_ids: int64[K], ascending.
        centroids: float32[K, D], length 1.
        sizes: int64[K], videos of each, what an overlap is counted in.
        previous: the parents of the last training, or None.
        seed: of the clusterings of a first grouping.

    >>> eight = to_unit_length(np.array([[1, 0], [1, .1], [0, 1], [.1, 1]])).astype(np.float32)
    >>> parents = group_topics(np.array([1, 2, 5, 9]), eight, np.array([4, 4, 4, 4]))
    >>> parents.parent_ids.tolist() in ([1, 1, 2, 2], [2, 2, 1, 1]), parents.next_id
    (True, 3)
    """
    start = previous
    if previous is not None and previous.centroids.shape[1] != centroids.shape[1]:
        start = None  # an epoch of another width: its topics are gone, its IDs stay used
    labels = _groups(centroids, start, seed)
    used, labels = np.unique(labels, return_inverse=True)
    ids, next_id = _match(topic_ids, labels, sizes, len(used), previous)
    parent_ids = ids[labels]
    order = np.argsort(ids)
    sums = np.stack([centroids[labels == group].sum(axis=0) for group in order])
    return Parents(
        topic_ids, parent_ids, ids[order], to_unit_length(sums).astype(np.float32), next_id
    )


def _groups(
    centroids: NDArray[np.float32], previous: Parents | None, seed: int
) -> NDArray[np.int64]:
    """The group of each topic, int64[K]."""
    from producers.topics.clustering import best_clustering
    from producers.topics.kmeans import spherical_kmeans

    count = max(1, round(len(centroids) ** 0.5))
    if previous is None:
        return best_clustering(
            centroids, count, restarts=RESTARTS, iterations=LLOYD_STEPS, seed=seed
        ).labels
    known = len(previous.ids)
    if abs(known - count) <= TOLERANCE * count and known <= len(centroids):
        count = known
    start = previous.centroids[:count]
    return spherical_kmeans(
        centroids, count, iterations=LLOYD_STEPS, seed=seed, initial=start
    ).labels


def _match(
    topic_ids: NDArray[np.int64],
    labels: NDArray[np.int64],
    sizes: NDArray[np.int64],
    groups: int,
    previous: Parents | None,
) -> tuple[NDArray[np.int64], int]:
    """Each group's ID, int64[groups], and the next free one."""
    from scipy.optimize import linear_sum_assignment

    ids, next_id = np.zeros(groups, np.int64), previous.next_id if previous else 1
    if previous is not None:
        _, new, old = np.intersect1d(topic_ids, previous.topic_ids, return_indices=True)
        column = np.searchsorted(previous.ids, previous.parent_ids[old])
        overlap = np.zeros((groups, len(previous.ids)), np.int64)
        np.add.at(overlap, (labels[new], column), np.maximum(sizes[new], 1))
        group, parent = linear_sum_assignment(overlap, maximize=True)
        shared = overlap[group, parent] > 0
        ids[group[shared]] = previous.ids[parent[shared]]
    unnamed = np.flatnonzero(ids == 0)
    ids[unnamed] = np.arange(next_id, next_id + len(unnamed))
    return ids, next_id + len(unnamed)
