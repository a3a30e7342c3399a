"""How many topics a catalogue has, and the best of several clusterings of it (III-A3)."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from producers.topics.kmeans import Fit, KMeans, LocalPoints, fit_centres, label_points
from producers.topics.points import Points

PAPER_VIDEOS, PAPER_CLUSTERS = 3_000_000, 6_000
LEAST_VIDEOS_A_TOPIC = 4


def clusters_for(videos: int) -> int:
    """K for a catalogue of that many videos with a representation.

    K grows with the square root, through the paper's 6,000 for 3 M: docs/adr/0031 has what half and
    twice as many do. A topic has four videos or more on average.

    >>> [clusters_for(n) for n in (1, 100, 2_000, 9_517, 3_000_000)]
    [1, 25, 155, 338, 6000]
    """
    root = PAPER_CLUSTERS * sqrt(videos / PAPER_VIDEOS)
    return max(1, min(round(root), videos // LEAST_VIDEOS_A_TOPIC))


def best_clustering(
    points: NDArray[np.float32],
    clusters: int,
    *,
    restarts: int,
    iterations: int,
    seed: int,
    device: str = "cpu",
) -> KMeans:
    """The clustering of the greatest mean cosine, K-means' own objective, among several seeds.

    Args:
        points: float32[N, D], of length 1 or zero.
        clusters: K.
        restarts: clusterings, with seeds seed, seed + 1, ...; the first of equal ones is taken.
        iterations: Lloyd's steps of each at most.
        seed: of the first.
        device: where torch computes.

    >>> points = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    >>> float(best_clustering(points, 3, restarts=2, iterations=5, seed=0).cosines.mean())
    1.0
    """
    local = LocalPoints(points, device)
    best = best_fit(local, clusters, restarts=restarts, iterations=iterations, seed=seed)
    return label_points(local, best)


def best_fit(points: Points, clusters: int, *, restarts: int, iterations: int, seed: int) -> Fit:
    """The centres of :func:`best_clustering`, of points that may lie anywhere."""
    fits = (
        fit_centres(points, clusters, iterations=iterations, seed=seed + i) for i in range(restarts)
    )
    return max(fits, key=lambda fit: fit.cosine)
