"""What K-means asks of its points, wherever they lie: statistics of their labels, no points.

Points are cut into the same blocks everywhere, and the blocks' sums are added in the blocks' order:
so a step's sums have the same bytes in one process and on any number of executors.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LEAST_BLOCK_ROWS = 16_384
BLOCK_ROWS_PER_CLUSTER = 4
"""A block's sums are then at most half as many bytes as its points in float32."""
MOST_BLOCK_ELEMENTS = 2**28
"""1 GB of float32: what one task of an executor holds."""


class Summary(NamedTuple):
    """Labels of some points, in short.

    Attributes:
        sizes: int64[K], points of each cluster.
        cosine: the sum of the points' cosines to their centres.
        fingerprints: a hash of each block's labels; equal where the labels are.
    """

    sizes: NDArray[np.int64]
    cosine: float
    fingerprints: tuple[bytes, ...]

    def __add__(self, following: Summary) -> Summary:  # type: ignore[override]
        """The summary of these points and those of the blocks that follow them."""
        return Summary(
            self.sizes + following.sizes,
            self.cosine + following.cosine,
            self.fingerprints + following.fingerprints,
        )


class Statistics(NamedTuple):
    """What a Lloyd's step needs of the labels: float64[K, D] sums of the clusters, and a summary.

    The sums are on the device where the centres are.
    """

    sums: Tensor
    summary: Summary


class Points(Protocol):
    """Unit vectors [N, D] that K-means can label.

    Attributes:
        rows: int64, ascending, the numbers of those that are points: zero vectors are none.
        count: N.
        width: D.
        device: where torch computes the centres.
    """

    rows: NDArray[np.int64]
    count: int
    width: int
    device: str

    def first_centres(self, clusters: int, known: Tensor, rng: np.random.Generator) -> Tensor:
        """See :func:`producers.topics.seeding.first_centres`."""

    def label(self, centres: Tensor) -> Statistics:
        """Statistics of the points' nearest centres, float32[K, D]."""

    def farthest(self, centres: Tensor, sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Of :func:`farthest` among all points, labelled by `centres` into clusters of `sizes`."""

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """Some points, float32[len(rows), D] on the device, of length 1."""

    def labels(self, centres: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Each point's nearest centre int64[N], -1 for a zero vector, and cosine float32[N]."""


def blocks(rows: int, width: int, clusters: int) -> Iterator[slice]:
    """The blocks of points; they depend on nothing but the shape.

    >>> [len(range(40_000)[block]) for block in blocks(40_000, 100, 300)]
    [16384, 16384, 7232]
    >>> [len(range(40_000)[block]) for block in blocks(40_000, 100, 6_000)]
    [24000, 16000]
    """
    size = max(LEAST_BLOCK_ROWS, BLOCK_ROWS_PER_CLUSTER * clusters)
    size = max(1, min(size, MOST_BLOCK_ELEMENTS // width))
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))


def summarize(labels: NDArray[np.int64], cosines: NDArray[np.float32], clusters: int) -> Summary:
    """Of one block's labels, -1 for a zero vector, and cosines, 0 for one.

    >>> summarize(np.array([1, -1, 1]), np.array([0.5, 0, 0.25], np.float32), 3)[:2]
    (array([0, 2, 0]), 0.75)
    """
    sizes = np.bincount(labels[labels >= 0], minlength=clusters)
    fingerprint = blake2b(labels.tobytes(), digest_size=16).digest()
    return Summary(sizes, float(cosines.sum(dtype=np.float64)), (fingerprint,))


def farthest(
    labels: NDArray[np.int64],
    cosines: NDArray[np.float32],
    sizes: NDArray[np.int64],
    count: int,
) -> NDArray[np.int64]:
    """At most `count` of the points that lie farthest from their centres, the farthest first.

    A point that is alone in its cluster, or lies on its centre, is never one: as a new centre it
    would empty another cluster, or make two centres of one. So there may be fewer.

    >>> labels, cosines = np.array([0, 0, 1, 0]), np.array([0.9, 0.8, 0.1, 1], np.float32)
    >>> farthest(labels, cosines, np.array([3, 1]), 3).tolist()
    [1, 0]
    """
    apart = np.flatnonzero((labels >= 0) & (sizes[labels] > 1) & (cosines < 1 - 1e-6))
    return apart[np.argsort(cosines[apart], kind="stable")[:count]]
