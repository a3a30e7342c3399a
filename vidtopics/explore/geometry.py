"""Where topics lie: a map in two dimensions, and their nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROWS = 512
"""Rows of the cosine matrix that are held at a time."""


def plane(centroids: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first two principal components of the centroids, float64[K, 2].

    Far apart there is far apart in fact. They come from the smaller of the two Gram matrices.

    The sign of a component is free: its entry of greatest size is made positive.

    >>> plane(np.array([[3, 0], [-1, 0], [-2, 0]], np.float32)).round(3).tolist()
    [[3.0, 0.0], [-1.0, 0.0], [-2.0, 0.0]]
    """
    centred = centroids.astype(np.float64) - centroids.mean(axis=0, dtype=np.float64)
    components = np.zeros((len(centroids), 2))
    if centred.shape[0] <= centred.shape[1]:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        scores = vectors * np.sqrt(np.maximum(values, 0))
    else:
        scores = centred @ np.linalg.eigh(centred.T @ centred)[1]
    leading = scores[:, ::-1][:, :2]
    components[:, : leading.shape[1]] = leading
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
    places = np.empty((len(centroids), count), np.int64)
    cosines = np.empty((len(centroids), count))
    for start in range(0, len(centroids), ROWS):
        rows = centroids[start : start + ROWS] @ centroids.T
        rows[np.arange(len(rows)), np.arange(start, start + len(rows))] = -np.inf
        order = np.argsort(-rows, axis=1, kind="stable")[:, :count]
        places[start : start + ROWS] = order
        cosines[start : start + ROWS] = np.take_along_axis(rows, order, axis=1)
    return places, cosines
