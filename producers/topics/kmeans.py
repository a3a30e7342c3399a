"""Spherical K-means on torch: unit vectors, cosine (Dhillon and Modha 2001).

Points may be a memory map of half precision: a step reads them once, in blocks, and finds labels,
cosines and the next centres' sums in that one pass.

The loop is not faiss's: that fills an empty cluster with a copy of a big one's centre and doesn't
say which centres it re-seeded, which stable IDs need, and no point can stay out (docs/adr/0032 has
both side by side).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from producers.topics.points import Points, Statistics, Summary, blocks, farthest, summarize
from producers.topics.products import check_points, chunks, nearest
from producers.topics.seeding import first_centres, read_rows
from vidtopics.errors import SettingsError, TableError, explain

__all__ = [
    "Fit",
    "KMeans",
    "LocalPoints",
    "check_points",
    "chunks",
    "fit_centres",
    "label_block",
    "label_points",
    "nearest",
    "spherical_kmeans",
]

COLUMNS = 256
"""That one thread adds up at a time."""


class Fit(NamedTuple):
    """Centres that K-means found.

    Attributes:
        centroids: float32[K, D], length 1.
        origin: int64[K], the row of `initial` that a centre moved from, -1 if (re-)seeded.
        iterations: Lloyd's steps that were taken.
        cosine: the mean cosine of the points to their nearest centre, K-means' own objective.
    """

    centroids: NDArray[np.float32]
    origin: NDArray[np.int64]
    iterations: int
    cosine: float


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
    points: NDArray[np.floating],
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
    gives the same bytes for the same number of threads. Beside the points it holds labels, cosines,
    centres with their sums and a block's in double precision, and blocks of 64 MB; while seeding 8
    points a cluster and the products of 2.5 candidates a cluster with each other.

    Args:
        points: float32 or float16 [N, D], of length 1 or zero; may be a memory map.
        clusters: K.
        iterations: Lloyd's steps at most.
        seed: of the seeding.
        initial: float32[K0, D], K0 <= K, centres to start from; seeding adds the others.
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
    local = LocalPoints(points, device)
    fit = fit_centres(local, clusters, iterations=iterations, seed=seed, initial=initial)
    return label_points(local, fit)


def fit_centres(
    points: Points,
    clusters: int,
    *,
    iterations: int,
    seed: int,
    initial: NDArray[np.float32] | None = None,
) -> Fit:
    """:func:`spherical_kmeans` on points that may lie anywhere; their labels stay there.

    Raises:
        SettingsError: there are fewer points than clusters.
        TableError: there is no point at all.
    """
    _check_enough(len(points.rows), clusters)
    given = np.empty((0, points.width), np.float32) if initial is None else initial
    rng = np.random.default_rng(seed)
    centres = points.first_centres(clusters, torch.as_tensor(given, device=points.device), rng)
    origin = np.where(np.arange(clusters) < len(given), np.arange(clusters), -1)
    statistics = points.label(centres)
    steps = 0
    while steps < iterations:
        steps += 1
        before, last = centres, statistics.summary
        centres = _means(statistics.sums, before)
        moved = _reseed(points, before, last.sizes, centres)
        origin[moved] = -1
        statistics = points.label(centres)
        if not len(moved) and statistics.summary.fingerprints == last.fingerprints:
            break
    cosine = statistics.summary.cosine / points.count
    return Fit(centres.cpu().numpy(), origin, steps, cosine)


def label_points(points: Points, fit: Fit) -> KMeans:
    """A fit with the label and cosine of each point."""
    labels, cosines = points.labels(torch.as_tensor(fit.centroids, device=points.device))
    return KMeans(fit.centroids, labels, cosines, fit.origin, fit.iterations)


class LocalPoints:
    """Points of an array of this process, :class:`producers.topics.points.Points`.

    Args:
        array: float32 or float16 [N, D], of length 1 or zero; may be a memory map.
        device: where torch computes.

    Raises:
        ContractError: a point's length is neither 0 nor 1.
    """

    def __init__(self, array: NDArray[np.floating], device: str = "cpu") -> None:
        self.array, self.device = array, device
        self.count, self.width = array.shape
        self._present = check_points(array)
        self.rows = np.flatnonzero(self._present)
        self._last: tuple[Tensor, NDArray[np.int64], NDArray[np.float32]] | None = None

    def first_centres(self, clusters: int, known: Tensor, rng: np.random.Generator) -> Tensor:
        """Seeding reads a sample of the rows where they lie."""
        return first_centres(self.array, self.rows, clusters, known, rng)

    def label(self, centres: Tensor) -> Statistics:
        """One pass over the points, block after block."""
        labels, cosines = np.full(self.count, -1), np.zeros(self.count, np.float32)
        sums = torch.zeros_like(centres, dtype=torch.float64)
        summary = Summary(np.zeros(len(centres), np.int64), 0.0, ())
        for block in blocks(self.count, self.width, len(centres)):
            labels[block], cosines[block], of_block = label_block(
                self.array[block], self._present[block], centres
            )
            sums += of_block
            summary += summarize(labels[block], cosines[block], len(centres))
        self._last = centres.clone(), labels, cosines
        return Statistics(sums, summary)

    def farthest(self, centres: Tensor, sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """From the labels of the last pass."""
        return farthest(*self.labels(centres), sizes, count)

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """Read where they lie."""
        return read_rows(self.array, rows, self.device)

    def labels(self, centres: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of the last pass where that had the same centres, else of another one."""
        if self._last is None or not torch.equal(self._last[0], centres):
            self.label(centres)
        assert self._last is not None
        return self._last[1:]


def label_block(
    points: NDArray[np.floating], present: NDArray[np.bool_], centres: Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float32], Tensor]:
    """One pass: labels and cosines as KMeans has them, and the clusters' sums, float64[K, D].

    Args:
        points: float32 or float16 [B, D], of length 1 or zero.
        present: bool[B], those that aren't zero.
        centres: float32[K, D], on the device where torch computes.
    """
    labels, cosines = np.full(len(points), -1), np.zeros(len(points), np.float32)
    sums = torch.zeros_like(centres, dtype=torch.float64)
    for part in chunks(len(points), points.shape[1]):
        rows: slice | NDArray[np.int64] = part
        if not present[part].all():
            rows = part.start + np.flatnonzero(present[part])
        x = read_rows(points, rows, centres.device)
        label, cosine = nearest(x, centres)
        labels[rows], cosines[rows] = label.cpu().numpy(), cosine.cpu().numpy()
        _add(sums, x, label)
    return labels, cosines, sums


def _add(sums: Tensor, x: Tensor, labels: Tensor) -> None:
    """Add each point to its cluster's sum, always in one order."""
    if sums.device.type == "cpu":
        _add_rows(sums.numpy(), x.numpy(), labels.numpy())
    else:
        _add_sorted(sums, x, labels)


def _add_sorted(sums: Tensor, x: Tensor, labels: Tensor) -> None:
    """On a GPU: sorted segments add up in one order, which index_add_ has not."""
    order = torch.argsort(labels, stable=True)
    clusters, sizes = torch.unique_consecutive(labels[order], return_counts=True)
    sums[clusters] += torch.segment_reduce(x[order].double(), "sum", lengths=sizes, initial=0)


@numba.njit(cache=True, parallel=True)
def _add_rows(sums: NDArray[np.float64], x: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Threads share columns: a value is the sum over rows in their order, whatever their number."""
    width = sums.shape[1]
    for part in numba.prange((width + COLUMNS - 1) // COLUMNS):
        first, end = part * COLUMNS, min((part + 1) * COLUMNS, width)
        for row in range(len(x)):
            for column in range(first, end):
                sums[labels[row], column] += x[row, column]


def _means(sums: Tensor, centres: Tensor) -> Tensor:
    """The normalised mean of each cluster; an empty or cancelling cluster keeps its centre."""
    length = sums.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-6, (sums / length.clamp(min=1e-6)).float(), centres)


def _reseed(
    points: Points, before: Tensor, sizes: NDArray[np.int64], centres: Tensor
) -> NDArray[np.int64]:
    """Put each empty cluster's centre on one of the farthest points; returns the moved rows, int64.

    Args:
        points: labelled by the centres `before`, float32[K, D].
        before: those centres.
        sizes: int64[K], how many points each of them has.
        centres: float32[K, D], the next ones, which are changed.
    """
    empty = np.flatnonzero(sizes == 0)
    if not len(empty):
        return empty
    rows = points.farthest(before, sizes, len(empty))
    moved = empty[: len(rows)]
    centres[torch.as_tensor(moved)] = points.take(rows)
    return moved


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
