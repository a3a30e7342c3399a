"""Topics that follow their videos into a space that was learned anew (III-A3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from producers.topics.evolution import Topics
from producers.topics.products import chunks
from producers.unit_length import lengths, to_unit_length

CANCELLED = 1e-6
"""A sum of unit vectors this short has no direction but that of rounding."""


def carry_topics(
    previous: Topics, a: NDArray[np.float32], first: NDArray[np.int64]
) -> Topics | None:
    """The topics with centres in another space: the mean of the videos whose first topic they were.

    An ID means a group of videos, so it outlives the axes that the group was found in. A topic that
    has lost its videos isn't carried, and retires.

    Args:
        previous: topics of the old space.
        a: float32[N, D], the videos in the new space, of length 1 or zero.
        first: int64[N], each video's first topic in the old space; -1 for videos that are new or
            have changed.

    Returns:
        The topics with videos, `sizes` and `cohesion` of those; None where there is none, so that
        nothing can be compared.

    >>> none = np.empty(0, np.int64)
    >>> old = Topics(np.array([3, 5]), np.eye(2, dtype=np.float32), np.array([2, 1]),
    ...     np.ones(2, np.float32), np.zeros(2, int), none, none, 6, 1, 1)
    >>> a = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], np.float32)
    >>> new = carry_topics(old, a, np.array([3, 3, -1]))
    >>> new.topic_ids.tolist(), new.centroids.round(3).tolist(), new.next_id
    ([3], [[0.0, 0.7070000171661377, 0.7070000171661377]], 6)
    """
    ids = previous.topic_ids
    row = np.searchsorted(ids, first).clip(max=len(ids) - 1)
    videos = np.flatnonzero((ids[row] == first) & a.any(axis=1))
    ones = np.ones(len(videos))
    members = csc_array((ones, (row[videos], videos)), shape=(len(ids), len(a)))
    total = np.zeros((len(ids), a.shape[1]))
    for part in chunks(len(a), a.shape[1]):
        total += members[:, part] @ a[part].astype(np.float64)
    length, sizes = lengths(total), np.bincount(row[videos], minlength=len(ids))
    live = length > CANCELLED
    if not live.any():
        return None
    return replace(
        previous,
        topic_ids=ids[live],
        centroids=to_unit_length(total[live]).astype(np.float32),
        sizes=sizes[live],
        cohesion=(length[live] / sizes[live]).astype(np.float32),
        split_from=previous.split_from[live],
    )
