"""Which topics a video has: the nearest centres within the threshold tau_3 (paper, III-A3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.topics.products import Products, check_points, chunks
from vidtopics.contracts import TOPIC_SLOTS

SMALL = 2**24
"""Points or similarities (64 MB of float32) below which numpy multiplies: torch's start costs 2.8 s
of CPU, more than all of a day's new videos."""


class Assignment(NamedTuple):
    """The columns of `video_topics`, one row a video.

    Attributes:
        topic_ids: int64[N, slots], by falling weight, equal weights by rising id; pad -1.
        topic_weights: float32[N, slots], cosine to each topic's centroid; pad 0.
        topic_count: int64[N], slots in use; 0 for a zero vector.
        below_threshold: bool[N], no centroid is within the threshold: the nearest is given.
    """

    topic_ids: NDArray[np.int64]
    topic_weights: NDArray[np.float32]
    topic_count: NDArray[np.int64]
    below_threshold: NDArray[np.bool_]


def assign(
    a: NDArray[np.float32],
    centroids: NDArray[np.float32],
    topic_ids: NDArray[np.int64],
    threshold: float | NDArray[np.float32],
    *,
    slots: int = TOPIC_SLOTS,
    device: str = "cpu",
) -> Assignment:
    """Give each video the topics whose centroid lies within the threshold, the nearest ones first.

    A video's row has the same bytes in any batch and on any number of threads
    (:func:`top_centroids`): unchanged videos make no new rows in a history table. Memory is bounded
    as in K-means.

    Args:
        a: float32[N, D], topic representations of length 1; zero where a video has none.
        centroids: float32[K, D], length 1, K at least 1.
        topic_ids: int64[K], all different.
        threshold: tau_3, least cosine, itself included; float32[N] where videos differ in it.
        slots: topics a video may have.
        device: where torch computes.

    Raises:
        ContractError: the length of a row of `a` is neither 0 nor 1.

    >>> a = np.array([[1, 0], [0.6, 0.8], [-1, 0], [0, 0]], np.float32)
    >>> given = assign(a, np.eye(2, dtype=np.float32), np.array([10, 20]), 0.6, slots=2)
    >>> given.topic_ids.tolist(), given.topic_count.tolist(), given.below_threshold.tolist()
    ([[10, -1], [20, 10], [20, -1], [-1, -1]], [1, 2, 1, 0], [False, False, True, True])
    """
    present = check_points(a)
    order = np.argsort(
        topic_ids
    )  # then a stable sort by weight leaves equal weights in the order of ids
    rank, cosine = top_centroids(a, centroids[order], slots, device=device)
    near = cosine >= np.broadcast_to(np.asarray(threshold, np.float32), len(a))[:, None]
    count = np.where(present, np.maximum(near.sum(axis=1), 1), 0)
    used = np.arange(slots) < count[:, None]
    ids = np.where(used, topic_ids[order][rank], -1)
    return Assignment(ids, np.where(used, cosine, np.float32(0)), count, ~(near[:, 0] & present))


def top_centroids(
    a: NDArray[np.floating], centroids: NDArray[np.float32], slots: int, *, device: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ranks int64[N, slots] and values float32[N, slots] of each row's greatest cosines.

    As :meth:`Products.greatest`, in one pass over `a`.

    Args:
        a: float32 or float16 [N, D], length 1 or zero; may be a memory map.
        centroids: float32[K, D].
        slots: values a row.
        device: where torch makes the products; little work on the CPU is numpy's.
    """
    is_small = len(a) * max(centroids.shape) < SMALL
    if is_small and device == "cpu" and a.dtype == np.float32:
        return Products(centroids).greatest(np.ascontiguousarray(a), slots)
    import torch

    from producers.topics.seeding import read_rows

    products = Products(torch.tensor(centroids, device=device))
    rank = np.empty((len(a), slots), np.int64)
    cosine = np.empty((len(a), slots), np.float32)
    for rows in chunks(len(a), centroids.shape[1]):
        rank[rows], cosine[rows] = products.greatest(read_rows(a, rows, device), slots)
    return rank, cosine
