"""Where topics lie: a map in two dimensions, and their nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def plane(centroids: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first two principal components of the centroids, float64[K, 2].

    Far apart there is far apart in fact.

    The sign of a component is free: its entry of greatest size is made positive.

    >>> plane(np.array([[3, 0], [-1, 0], [-2, 0]], np.float32)).round(3).tolist()
    [[3.0, 0.0], [-1.0, 0.0], [-2.0, 0.0]]
    """
    centred = centroids.astype(np.float64) - centroids.mean(axis=0, dtype=np.float64)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    components = np.zeros((len(centroids), 2))
    components[:, : left.shape[1]] = (left * scale)[:, :2]
    greatest = components[np.abs(components).argmax(axis=0), [0, 1]]
    return components * np.where(greatest < 0, -1, 1) + 0.0


def similar(
    centroids: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each topic the `count` topics of greatest cosine, the greatest first, ties by place.

    Args:
        centroids: float32[K, width], each of length 1.
        count: neighbours of each; there are K - 1 at most.

    Returns:
        int64[K, n] places and float64[K, n] cosines, n = min(count, K - 1).

    >>> places, cosines = similar(np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32), 1)
    >>> places.tolist(), cosines.round(2).tolist()
    ([[1], [2], [1]], [[0.6], [0.8], [0.8]])
    """
    count = min(count, len(centroids) - 1)
    cosine = (centroids @ centroids.T).astype(np.float64)
    np.fill_diagonal(cosine, -np.inf)
    places = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return places, np.take_along_axis(cosine, places, axis=1)
