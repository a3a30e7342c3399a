"""Nearest neighbours by cosine, found by faiss: videos like this one, near duplicates."""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from producers.topics.products import chunks
from producers.topics.seeding import read_rows

EXACT_ROWS = 20_000
"""Up to so many rows all pairs are compared: 2 TFLOP at 2,432 wide, seconds on two cores."""
RECALL = 0.95
"""Least share of the exact ten neighbours that an index has to find."""
SAMPLE = 200
"""Queries that recall is measured on."""


class Neighbours(NamedTuple):
    """What lies nearest to each query.

    Attributes:
        rows: int64[Q, k] of the base by falling cosine, equal ones by rising row; pad -1.
        cosines: float32[Q, k]; pad -inf.
        recall: share of the exact neighbours that are among them, measured on a sample; 1 if exact.
    """

    rows: NDArray[np.int64]
    cosines: NDArray[np.float32]
    recall: float


class Pairs(NamedTuple):
    """Rows that nearly coincide: int64[P] each, first < second, float32[P] by falling cosine.

    `recall`: share of each row's neighbours that were looked at, as of :class:`Neighbours`.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    cosines: NDArray[np.float32]
    recall: float


def nearest_neighbours(
    queries: NDArray[np.floating], base: NDArray[np.floating], k: int, *, device: str = "cpu"
) -> Neighbours:
    """The k rows of `base` with the greatest cosine to each query.

    All are compared where that costs less than an index (few queries, :data:`EXACT_ROWS`), and on a
    GPU. Otherwise an inverted file of 4 sqrt(N) lists in half precision is made, and as many lists
    are looked into as it takes to find :data:`RECALL` of the exact neighbours of a sample.

    Args:
        queries: float32 or float16 [Q, D], length 1 or zero; may be a memory map, like `base`.
        base: [N, D].
        k: neighbours of each, at most N of them.
        device: "cuda": all are compared there, by faiss's `knn_gpu`.

    >>> base = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    >>> nearest_neighbours(base[:1], base, 2).rows.tolist()
    [[0, 1]]
    """
    lists = _lists(len(base))
    if device != "cpu" or len(base) <= EXACT_ROWS or len(queries) <= lists + 2 * SAMPLE:
        return Neighbours(*exact_neighbours(queries, base, k, device=device), 1.0)
    sample = np.sort(np.random.default_rng(0).choice(len(queries), SAMPLE, replace=False))
    truth = exact_neighbours(queries[sample], base, k)[0]
    index = _inverted_file(base, lists)
    recall = 0.0
    index.nprobe = 1
    while recall < RECALL and index.nprobe < lists:
        index.nprobe = min(2 * index.nprobe, lists)
        rows = _search(index, queries[sample], k)[0]
        recall = float(np.mean([np.isin(t, r).mean() for t, r in zip(truth, rows, strict=True)]))
    rows = np.empty((len(queries), k), np.int64)
    cosines = np.empty((len(queries), k), np.float32)
    for block in chunks(len(queries), queries.shape[1]):
        rows[block], cosines[block] = _search(index, queries[block], k)
    return Neighbours(rows, cosines, recall)


def near_duplicates(
    vectors: NDArray[np.floating], threshold: float, *, device: str = "cpu"
) -> Pairs:
    """Pairs of rows whose cosine is at least `threshold`, each once, among ten neighbours a row.

    Args:
        vectors: float32 or float16 [N, D], length 1 or zero; zero rows are in no pair.
        threshold: least cosine, above 0.
        device: as for :func:`nearest_neighbours`.

    >>> vectors = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    >>> pairs = near_duplicates(vectors, 0.99)
    >>> pairs.first.tolist(), pairs.second.tolist(), pairs.cosines.tolist()
    ([0], [2], [1.0])
    """
    k = min(11, len(vectors))  # a row is its own nearest neighbour
    rows, cosines, recall = nearest_neighbours(vectors, vectors, k, device=device)
    one, other = np.repeat(np.arange(len(rows)), rows.shape[1]), rows.ravel()
    near = (cosines.ravel() >= threshold) & (one != other) & (other >= 0)
    ends = np.sort(np.column_stack([one[near], other[near]]), axis=1)
    ends, once = np.unique(ends, axis=0, return_index=True)
    cosine = cosines.ravel()[near][once]
    order = np.argsort(-cosine, kind="stable")
    return Pairs(ends[order, 0], ends[order, 1], cosine[order], recall)


def exact_neighbours(
    queries: NDArray[np.floating], base: NDArray[np.floating], k: int, *, device: str = "cpu"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows int64[Q, k] and cosines float32[Q, k] of Neighbours; `base` is read once, in blocks."""
    best_rows = np.full((len(queries), k), -1)
    best = np.full((len(queries), k), -np.inf, np.float32)
    x = read_rows(queries, slice(None), "cpu").numpy()
    for block in chunks(len(base), base.shape[1]):
        y = read_rows(base, block, "cpu").numpy()
        if not len(x) or not len(y):
            continue
        cosines, rows = _knn(x, y, min(k, len(y)), device)
        best = np.concatenate([best, cosines], axis=1)
        best_rows = np.concatenate([best_rows, block.start + rows.astype(np.int64)], axis=1)
        order = np.lexsort((best_rows, -best))[:, :k]
        best = np.take_along_axis(best, order, axis=1)
        best_rows = np.take_along_axis(best_rows, order, axis=1)
    return best_rows, best


def _knn(
    x: NDArray[np.float32], y: NDArray[np.float32], k: int, device: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if device == "cpu":
        cosines, rows = faiss.knn(x, y, k, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        resources = faiss.StandardGpuResources()
        cosines, rows = faiss.knn_gpu(resources, x, y, k, metric=faiss.METRIC_INNER_PRODUCT)
    return cosines, rows


def _lists(rows: int) -> int:
    return int(4 * np.sqrt(rows))


def _inverted_file(base: NDArray[np.floating], lists: int) -> Any:
    width = base.shape[1]
    index: Any = faiss.index_factory(width, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    size = min(len(base), 40 * lists)
    sample = np.sort(np.random.default_rng(0).choice(len(base), size, replace=False))
    index.train(read_rows(base, sample, "cpu").numpy())
    for block in chunks(len(base), width):
        index.add(read_rows(base, block, "cpu").numpy())
    return index


def _search(
    index: Any, queries: NDArray[np.floating], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    cosines, rows = index.search(read_rows(queries, slice(None), "cpu").numpy(), k)
    return rows, np.where(rows < 0, np.float32(-np.inf), cosines)
