"""Spherical K-means on torch: unit vectors, cosine, k-means++ seeding (Dhillon and Modha 2001).

faiss is left out. Its k-means starts from uniformly drawn points: on 20,000 points around 300
planted centres it ended at a mean cosine of 0.730, k-means++ at 0.759. It doesn't say which centres
it re-seeded, which stable IDs need, and no point can stay out. Its exact search is the same matrix
product and top-k as here, in float32 only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidtopics.errors import ContractError, SettingsError, TableError, explain

CHUNK_ELEMENTS = 2**24
"""Elements of a block of similarities or sorted points: 64 MB of float32 for any N."""


class KMeans(NamedTuple):
    """What K-means found.

    Attributes:
        centroids: float32[K, D], length 1.
        labels: int64[N], each point's nearest centre; -1 for a zero vector.
        cosines: float32[N], the cosine to it; 0 for a zero vector.
        origin: int64[K], the row of `initial` that a centre moved from, -1 if (re-)seeded.
        iterations: Lloyd's steps that were taken.
    """

    centroids: NDArray[np.float32]
    labels: NDArray[np.int64]
    cosines: NDArray[np.float32]
    origin: NDArray[np.int64]
    iterations: int


def spherical_kmeans(
    points: NDArray[np.float32],
    clusters: int,
    *,
    iterations: int,
    seed: int,
    initial: NDArray[np.float32] | None = None,
    device: str = "cpu",
) -> KMeans:
    """Cluster unit vectors by cosine: Lloyd's steps until no point moves or `iterations` are done.

    Zero vectors are no points: they join no cluster, move no centre and seed none. An empty cluster
    is re-seeded from the points that lie farthest from their own centres. On a CPU the same seed
    gives the same bytes for the same number of threads; memory is bounded by :data:`CHUNK_ELEMENTS`
    beside the points themselves.

    Args:
        points: float32[N, D], of length 1 or zero.
        clusters: K.
        iterations: Lloyd's steps at most.
        seed: of the seeding.
        initial: float32[K0, D], K0 <= K, centres to start from; k-means++ adds the others.
        device: where torch computes, "cpu" or "cuda".

    Raises:
        ContractError: a point's length is neither 0 nor 1.
        SettingsError: there are fewer points than clusters.
        TableError: there is no point at all.

    >>> points = np.array([[1, 0], [0.8, 0.6], [0, 0], [-1, 0], [-0.8, 0.6]], np.float32)
    >>> clustering = spherical_kmeans(points, 2, iterations=10, seed=0)
    >>> labels = clustering.labels
    >>> [bool(labels[i] == labels[j]) for i, j in ((0, 1), (3, 4), (0, 3))], int(labels[2])
    ([True, True, False], -1)
    """
    used = np.flatnonzero(check_points(points))
    _check_enough(len(used), clusters)
    x = torch.as_tensor(points[used], device=device)
    known = (
        x.new_empty((0, x.shape[1])) if initial is None else torch.as_tensor(initial, device=device)
    )
    centres = plus_plus(x, clusters, known, np.random.default_rng(seed))
    origin = np.where(np.arange(clusters) < len(known), np.arange(clusters), -1)
    labels, cosines = nearest(x, centres)
    steps = 0
    while steps < iterations:
        steps += 1
        centres, before = _update(x, labels, centres), labels
        labels, cosines = nearest(x, centres)
        moved = _reseed(x, labels, cosines, centres)
        if len(moved):
            origin[moved] = -1
            labels, cosines = nearest(x, centres)
        elif torch.equal(labels, before):
            break
    all_labels, all_cosines = np.full(len(points), -1), np.zeros(len(points), np.float32)
    all_labels[used], all_cosines[used] = labels.cpu().numpy(), cosines.cpu().numpy()
    return KMeans(centres.cpu().numpy(), all_labels, all_cosines, origin, steps)


def nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's nearest centre, int64[N] (ties: the first), and the cosine to it, float32[N]."""
    maxima = [(x[rows] @ centres.T).max(dim=1) for rows in chunks(len(x), len(centres))]
    return torch.cat([f.indices for f in maxima]), torch.cat([f.values for f in maxima])


def plus_plus(x: Tensor, clusters: int, known: Tensor, rng: np.random.Generator) -> Tensor:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007) on the sphere: float32[K, D], `known` first.

    The squared distance of unit vectors is 2 (1 - cosine), so candidates are drawn in proportion to
    1 - cosine to the nearest centre; of 2 + ln K candidates the one that leaves the least sum is
    taken, as scikit-learn does.
    """
    candidates = 2 + int(np.log(clusters))
    centres = [*known]
    gap = 1 - nearest(x, known)[1] if len(known) else x.new_ones(len(x))
    for _ in range(clusters - len(known)):
        cumulative = gap.clamp(min=0).double().cumsum(0)
        target = torch.as_tensor(rng.random(candidates), device=x.device) * cumulative[-1]
        drawn = torch.searchsorted(cumulative, target, right=True).clamp(max=len(x) - 1)
        gaps = torch.minimum(gap[:, None], 1 - x @ x[drawn].T)
        best = gaps.sum(dim=0, dtype=torch.float64).argmin()
        gap = gaps[:, best]
        centres.append(x[drawn[best]])
    return torch.stack(centres)


def chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of `rows` such that that many rows of `columns` stay within CHUNK_ELEMENTS."""
    size = max(1, CHUNK_ELEMENTS // max(columns, 1))
    return (slice(first, min(first + size, rows)) for first in range(0, max(rows, 1), size))


def check_points(points: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool[N]: true for length 1, false for zero vectors; ContractError for any other length."""
    length = np.sqrt(np.einsum("nd,nd->n", points, points, dtype=np.float64))
    wrong = ~((np.abs(length - 1) < 1e-3) | (length == 0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ContractError(
            explain(
                f"topic representation, row {at}",
                expected="length 1, or 0 where both blocks are missing",
                found=f"{length[at]:g}",
                mend="make it with TopicSpace.represent",
            )
        )
    present: NDArray[np.bool_] = length > 0
    return present


def _update(x: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """The normalised mean of each cluster; an empty or cancelling cluster keeps its centre."""
    total = torch.zeros_like(centres)
    for rows in chunks(len(x), max(centres.shape)):
        # Sorted segments add up in one order; index_add_ would not on a GPU.
        order = torch.argsort(labels[rows], stable=True)
        sizes = torch.bincount(labels[rows], minlength=len(centres))
        total += torch.segment_reduce(x[rows][order], "sum", lengths=sizes, initial=0)
    length = total.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-6, total / length.clamp(min=1e-6), centres)


def _reseed(x: Tensor, labels: Tensor, cosines: Tensor, centres: Tensor) -> NDArray[np.int64]:
    """Put each empty centre on one of the farthest points; returns the moved rows, int64.

    A point that is alone in its cluster, or lies on its centre, is never taken: that would empty
    another cluster, or make two centres of one. So there may be fewer such points than empty
    clusters.
    """
    sizes = torch.bincount(labels, minlength=len(centres))
    empty = torch.nonzero(sizes == 0)[:, 0]
    apart = (sizes[labels] > 1) & (cosines < 1 - 1e-6)
    farthest = torch.argsort(torch.where(apart, cosines, 2), stable=True)[
        : min(len(empty), int(apart.sum()))
    ]
    moved = empty[: len(farthest)]
    centres[moved] = x[farthest]
    rows: NDArray[np.int64] = moved.cpu().numpy()
    return rows


def _check_enough(points: int, clusters: int) -> None:
    if not points:
        raise TableError(
            explain(
                "topics",
                expected="a video with a cover, a title or a tag that has a vector",
                found="none",
                mend="ingest covers, titles or tags (tags.min_videos: a tag on fewer has none), "
                "and let topics.tag_weight or topics.joint_weight be above 0",
            )
        )
    if points < clusters:
        raise SettingsError(
            explain(
                "topics.clusters",
                expected=f"at most {points}, the videos that have a representation",
                found=str(clusters),
                mend="lower topics.clusters",
            )
        )
