"""Which topics a video has: the nearest centres within the threshold tau_3 (paper, III-A3)."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from producers.topics.kmeans import check_points
from producers.topics.products import chunks
from producers.unit_length import lengths
from vidtopics.contracts import TOPIC_SLOTS

UNIT_ROUNDOFF = 2.0**-24
"""Of float32: a product of D terms is off by at most D times this (Higham 2002, section 3.1)."""


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

    One pass of float32 products says which centroids may be among the greatest: all within twice
    the products' error bound of the last slot's. Those few are summed in double precision, each in
    one order, and rounded to single: the result is that of double precision throughout.

    Ties go to the earlier centroid. With fewer centroids than slots, the rest is centroid 0 with
    cosine -inf.

    Args:
        a: float32 or float16 [N, D], length 1 or zero; may be a memory map.
        centroids: float32[K, D].
        slots: values a row.
        device: where torch makes the products.
    """
    centres = np.array(centroids, np.float32)  # Arrow's are read-only, and another type for numba
    norms = lengths(centres)
    transposed = torch.as_tensor((centres / norms[:, None]).astype(np.float32), device=device).T
    rank = np.zeros((len(a), slots), np.int64)
    cosine = np.full((len(a), slots), -np.inf, np.float32)
    margin = np.float32((2 * a.shape[1] + 32) * UNIT_ROUNDOFF)
    for rows in chunks(len(a), max(centres.shape)):
        x = np.array(a[rows], np.float32)
        rough = (torch.from_numpy(x).to(device) @ transposed).cpu().numpy()
        _settle(x, centres, norms, rough, margin, rank[rows], cosine[rows])
    return rank, cosine


@numba.njit(cache=True, parallel=True)
def _settle(
    x: NDArray[np.float32],
    centres: NDArray[np.float32],
    norms: NDArray[np.float64],
    rough: NDArray[np.float32],
    margin: np.float32,
    rank: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> None:
    """Fill `rank` and `cosine` from the centres whose product is within `margin` of the slots'."""
    slots = min(rank.shape[1], len(centres))
    for row in numba.prange(len(x)):
        length = np.sqrt(_dot(x[row], x[row]))
        limit = _least_of_greatest(rough[row], slots) - margin
        used = 0
        for centre in range(len(centres)):
            if length == 0 and used == slots:
                break
            if rough[row, centre] < limit:
                continue
            value = np.float32(0)
            if length > 0:
                value = np.float32(_dot(x[row], centres[centre]) / (length * norms[centre]))
            place = used
            while place > 0 and cosine[row, place - 1] < value:
                place -= 1
            if place == slots:
                continue
            used = min(used + 1, slots)
            for later in range(used - 1, place, -1):
                rank[row, later] = rank[row, later - 1]
                cosine[row, later] = cosine[row, later - 1]
            rank[row, place], cosine[row, place] = centre, value


@numba.njit(cache=True)
def _least_of_greatest(values: NDArray[np.float32], count: int) -> np.float32:
    """The `count`-th greatest value."""
    greatest = np.full(count, -np.inf, np.float32)  # ascending
    for value in values:
        if value > greatest[0]:
            place = 0
            while place + 1 < count and greatest[place + 1] < value:
                greatest[place] = greatest[place + 1]
                place += 1
            greatest[place] = value
    least: np.float32 = greatest[0]
    return least


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Double precision, in one order for one length: the order that vectors of the CPU give."""
    total = 0.0
    for i in range(len(x)):
        total += np.float64(x[i]) * np.float64(y[i])
    return total
