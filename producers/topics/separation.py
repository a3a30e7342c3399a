"""How far representations tell classes apart, by figures that don't follow the dimension."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import davies_bouldin_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

from producers.unit_length import to_unit_length

NEIGHBOURS = 10
Vectors = NDArray[np.float32]


def class_separation(x: Vectors, classes: NDArray[np.int64]) -> dict[str, float]:
    """Silhouette, Davies-Bouldin and same-class share of neighbours, of videos with a vector.

    Args:
        x: float32[N, D], rows of length 1 or zero.
        classes: int64[N], one class a video; classes of one video are left out.

    Returns:
        `silhouette` by cosine, -1 to 1, greater is better (Rousseeuw 1987); `davies_bouldin` by
        Euclidean distance, from 0, less is better (Davies and Bouldin 1979); `neighbours`, share of
        each video's 10 nearest that have its class.

    >>> x = np.eye(2, dtype=np.float32)[[0] * 12 + [1] * 12]
    >>> class_separation(x + .01, np.array([0] * 12 + [1] * 12))["neighbours"]
    1.0
    """
    sizes = np.bincount(classes)
    rows = np.flatnonzero(x.any(axis=1) & (sizes[classes] > 1))
    points, truth = x[rows], classes[rows]
    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, len(points))).fit(points)
    near = index.kneighbors(return_distance=False, n_neighbors=min(NEIGHBOURS, len(points) - 1))
    return {
        "silhouette": float(silhouette_score(points, truth, metric="cosine")),
        "davies_bouldin": float(davies_bouldin_score(points, truth)),
        "neighbours": float((truth[near] == truth[:, None]).mean()),
    }


def intrinsic_dimension(x: Vectors) -> float:
    """The participation ratio of the covariance's eigenvalues, (sum l)^2 / sum l^2.

    It is D for an even cloud in D dimensions, and 1 on a line.

    >>> line = np.outer(np.linspace(-1, 1, 50), [3, 4]).astype(np.float32)
    >>> round(intrinsic_dimension(line), 6)
    1.0
    """
    present = x[x.any(axis=1)].astype(np.float64)
    covariance = np.cov(present, rowvar=False)
    return float(np.trace(covariance) ** 2 / np.square(covariance).sum())


def matched_dimensions(features: Mapping[str, Vectors]) -> tuple[int, dict[str, Vectors]]:
    """Each representation on as many principal components as the flattest of them fills.

    Returns:
        The number of components, and float32[N, components] of length 1, zero rows as they were.

    >>> rng = np.random.default_rng(0)
    >>> cloud, line = rng.normal(size=(90, 5)), np.outer(rng.normal(size=90), [1., 2, 3])
    >>> matched_dimensions({"cloud": cloud, "line": line + rng.normal(size=(90, 3))})[0]
    2
    """
    dimensions = max(2, round(min(intrinsic_dimension(x) for x in features.values())))
    return dimensions, {name: _components(x, dimensions) for name, x in features.items()}


def _components(x: Vectors, dimensions: int) -> Vectors:
    present = x.any(axis=1)
    centred = x[present].astype(np.float64) - x[present].mean(axis=0, dtype=np.float64)
    width = x.shape[1]
    _, vectors = eigh(centred.T @ centred, subset_by_index=[width - dimensions, width - 1])
    projected = np.zeros((len(x), dimensions), np.float32)
    projected[present] = to_unit_length(centred @ vectors)
    return projected


def probe_accuracy(x: Vectors, classes: NDArray[np.int64], train: NDArray[np.bool_]) -> float:
    """Share of the other videos whose class a linear probe names (ridge regression on classes).

    Args:
        x: float32[N, D].
        classes: int64[N].
        train: bool[N], videos that the probe learns from.

    >>> x = np.array([[0, 1], [1, 0], [.1, .9], [.8, .3]], np.float32)
    >>> probe_accuracy(x, np.array([0, 1, 0, 1]), np.array([True, True, False, False]))
    1.0
    """
    probe = RidgeClassifier().fit(x[train], classes[train])
    return float(probe.score(x[~train], classes[~train]))
