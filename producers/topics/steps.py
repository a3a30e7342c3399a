"""Lloyd's steps from centres that have names, as far as a judge allows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from producers.topics.churn import Judge
from producers.topics.kmeans import chunks, nearest
from producers.unit_length import to_unit_length
from vidtopics.settings import TopicSettings

PRIOR_VIDEOS = 10
"""A centre counts as this many videos: few sampled ones can't carry it away."""
SHARES = tuple(0.5**n for n in range(7))
"""Of a step that are tried, greatest first, to 1/64: sets move long before first topics do."""


def take_steps(
    points: NDArray[np.float32],
    topic_ids: NDArray[np.int64],
    centroids: NDArray[np.float32],
    settings: TopicSettings,
    judge: Judge,
    device: str,
) -> NDArray[np.float32]:
    """Move centres towards the means of their videos; returns float32[K, D], length 1.

    Each step goes as far as the judge allows; after one that had to be shortened, as after one that
    moves no video, none follows. A centre stands for :data:`PRIOR_VIDEOS` in its mean, so one
    without sampled videos stays, and one with a single such video doesn't become that video. Where
    steps end is the same as without: a centre stays if it is its videos' mean.

    Args:
        points: float32[N, D], length 1, all videos or a sample.
        topic_ids: int64[K], ascending.
        centroids: float32[K, D], length 1.
        settings: the section `topics`.
        judge: what has to stay.
        device: where torch computes.
    """
    x = torch.as_tensor(points, device=device)
    labels = _labels(x, centroids)
    for _ in range(settings.iterations):
        step = shrunk_means(points, labels, centroids) - centroids
        candidates = (to_unit_length(centroids + s * step).astype(np.float32) for s in SHARES)
        allowed = (
            (s, c) for s, c in zip(SHARES, candidates, strict=True) if judge.allows(topic_ids, c)
        )
        share, centroids = next(allowed, (0.0, centroids))
        before, labels = labels, _labels(x, centroids)
        if share < 1 or np.array_equal(labels, before):
            break
    return centroids


def shrunk_means(
    points: NDArray[np.float32], labels: NDArray[np.int64], centroids: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Means of each centre's videos and :data:`PRIOR_VIDEOS` at the centre, at length 1.

    >>> centroids = np.array([[1, 0], [0, 1]], np.float32)
    >>> points = np.array([[0.6, 0.8]] * 30, np.float32)  # mean (.6 * 30 + 10, .8 * 30) / 40
    >>> shrunk_means(points, np.zeros(30, int), centroids).astype(float).round(4).tolist()
    [[0.7593, 0.6508], [0.0, 1.0]]
    """
    total = PRIOR_VIDEOS * centroids.astype(np.float64)
    for rows in chunks(len(points), max(centroids.shape)):
        count = len(labels[rows])
        one_hot = csr_array(
            (np.ones(count), (labels[rows], np.arange(count))), shape=(len(centroids), count)
        )
        total += one_hot @ points[rows].astype(np.float64)
    return to_unit_length(total).astype(np.float32)


def mean_cosines(
    labels: NDArray[np.int64], cosines: NDArray[np.float32], clusters: int
) -> NDArray[np.float32]:
    """Mean cosine of each cluster's videos to its centre, float32[K]; 0 without a video.

    >>> mean_cosines(np.array([0, 0, 2]), np.array([1, 0.5, 0.25], np.float32), 3).tolist()
    [0.75, 0.0, 0.25]
    """
    total = np.bincount(labels, weights=cosines, minlength=clusters)
    return (total / np.maximum(np.bincount(labels, minlength=clusters), 1)).astype(np.float32)


def _labels(x: torch.Tensor, centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    labels: NDArray[np.int64] = (
        nearest(x, torch.as_tensor(centroids, device=x.device))[0].cpu().numpy()
    )
    return labels
