"""Points of K-means on Spark's executors: blocks, written once, labelled where they lie.

A step broadcasts the centres. Each block gives the sums of its clusters; who adds those of a range
of clusters gets them sorted by block. So the order of additions is that of one process, whatever
the number of executors, and however often a task is repeated.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial, reduce
from io import BytesIO
from itertools import groupby
from operator import add, itemgetter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from producers.topics.points import Statistics, Summary, blocks, farthest, summarize
from producers.topics.rows import Rows
from vidtopics.errors import MachineError, explain
from vidtopics.jobs.executor_tasks import explained, use_one_thread
from vidtopics.jobs.job import Run
from vidtopics.storage.addresses import Address
from vidtopics.storage.objects import Objects

if TYPE_CHECKING:
    from pyspark import RDD, Broadcast, SparkContext
    from torch import Tensor

FOLDER = "staging-points"
"""Of the home; what begins so belongs to a run, and is no part of a home's copy."""
SUMMARY = -1
"""In the place of a range of clusters: the block's summary."""
RANGE_BYTES = 2**20
"""Of one block's sums of a range of clusters: what sorting holds a hundred of."""
TAKEN_BYTES = 2**28
"""Of points that are brought to the driver at a time; Spark refuses a result of 1 GB."""


class Block(NamedTuple):
    """Points float32 or float16 [B, D] from row `first` on; `present` bool[B]: not zero."""

    number: int
    first: int
    points: NDArray[np.floating]
    present: NDArray[np.bool_]


class RangeSums(NamedTuple):
    """Sums float64[C, D] of those clusters of a range, int64[C] ascending, that blocks have."""

    clusters: NDArray[np.int64]
    sums: NDArray[np.float64]

    def __add__(self, following: RangeSums) -> RangeSums:  # type: ignore[override]
        """The sums with those of a block that follows.

        >>> one = RangeSums(np.array([2, 5]), np.array([[1.0], [2]]))
        >>> total = one + RangeSums(np.array([3, 5]), np.array([[10.0], [20]]))
        >>> total.clusters.tolist(), total.sums.tolist()
        ([2, 3, 5], [[1.0], [10.0], [22.0]])
        """
        clusters = np.union1d(self.clusters, following.clusters)
        sums = np.zeros((len(clusters), self.sums.shape[1]))
        for part in (self, following):
            sums[np.searchsorted(clusters, part.clusters)] += part.sums
        return RangeSums(clusters, sums)


Key: TypeAlias = tuple[int, int]
"""A range of clusters, and a block."""


class ExecutorPoints:
    """Points on executors, :class:`producers.topics.points.Points`.

    The driver holds the rows' numbers, what seeding samples, and a step's centres and their sums:
    8 N + 12 K D bytes and 8 D for each of the 8 K sampled points.

    Args:
        context: of Spark.
        points: their blocks, as :func:`producers.topics.points.blocks` cuts them, each once.
        rows: int64, ascending, the numbers of those that aren't zero.
        shape: N, D.
    """

    device = "cpu"

    def __init__(
        self,
        context: SparkContext,
        points: RDD[Block],
        rows: NDArray[np.int64],
        shape: tuple[int, int],
    ) -> None:
        self._context, self._points = context, points
        self.rows = rows
        self.count, self.width = shape

    def first_centres(self, clusters: int, known: Tensor, rng: np.random.Generator) -> Tensor:
        """Seeding sees the rows that it would draw from an array, on the driver."""
        from producers.topics.seeding import draw_sample, first_centres

        if len(known) >= clusters:
            return known[:clusters]
        sample = self._collect_rows(draw_sample(self.rows, clusters, rng))
        return first_centres(sample, np.arange(len(sample)), clusters, known, rng)

    def label(self, centres: Tensor) -> Statistics:
        """One pass over the points, on executors; the clusters' sums come back."""
        import torch

        size = max(1, RANGE_BYTES // (8 * self.width))
        reducers = min(self._context.defaultParallelism, -(-len(centres) // size))
        sums = torch.zeros_like(centres, dtype=torch.float64)
        with self._shared(centres) as shared, _explained():
            parts = self._points.flatMap(partial(_sum_block, shared, size))
            ordered = parts.repartitionAndSortWithinPartitions(reducers, itemgetter(0))
            totals = dict(ordered.mapPartitions(_add_in_order).collect())
        summary = totals.pop(SUMMARY)
        assert isinstance(summary, Summary)
        for total in totals.values():
            assert isinstance(total, RangeSums)
            sums[torch.from_numpy(total.clusters)] = torch.from_numpy(total.sums)
        return Statistics(sums, summary)

    def farthest(self, centres: Tensor, sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Of each block's, the farthest; labels aren't kept, so it takes a pass of its own."""
        with self._shared(centres) as shared, _explained():
            parts = self._points.map(partial(_farthest_of_block, shared, sizes, count)).collect()
        rows, cosines = (np.concatenate(column) for column in zip(*parts, strict=True))
        farthest_rows: NDArray[np.int64] = rows[np.argsort(cosines, kind="stable")[:count]]
        return farthest_rows

    def take(self, rows: NDArray[np.int64]) -> Tensor:
        """Brought to the driver."""
        from producers.topics.seeding import read_rows

        return read_rows(self._collect_rows(rows), slice(None), self.device)

    def labels(self, centres: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Of all points, brought to the driver: 12 N bytes, after a pass of its own."""
        with self._shared(centres) as shared, _explained():
            parts = self._points.map(partial(_labels_of_block, shared)).collect()
        labels, cosines = (np.concatenate(column) for column in zip(*parts, strict=True))
        return labels, cosines

    def _collect_rows(self, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        """As they are stored, in the order of `rows`; some after the other."""
        size = max(1, TAKEN_BYTES // (4 * self.width))
        collected = np.empty((0, self.width), np.float32)
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            with _explained():
                of_blocks = self._points.map(partial(_rows_of_block, part)).collect()
            if not first:
                collected = np.empty((len(rows), self.width), of_blocks[0][1].dtype)
            for places, points in of_blocks:
                collected[first + places] = points
        return collected

    @contextmanager
    def _shared(self, centres: Tensor) -> Iterator[Broadcast[NDArray[np.float32]]]:
        """Centres for one pass; executors drop them after it.

        Files of a shuffle go when both of the driver's collectors freed what names them, in a quiet
        process not for half an hour; a pass writes up to half as many bytes as there are points.
        """
        shared = self._context.broadcast(centres.numpy())
        try:
            yield shared
        finally:
            shared.destroy()
            gc.collect()
            assert self._context._jvm is not None
            self._context._jvm.java.lang.System.gc()


def _explained() -> AbstractContextManager[None]:
    mend = "see the executors' logs, and run the training again"
    return explained("K-means", mend)


@contextmanager
def on_executors(run: Run, points: Rows, clusters: int) -> Iterator[ExecutorPoints]:
    """Send points to the executors of a run, for clusterings into that many clusters.

    The driver writes their blocks into the home, from where executors fetch them: a block that an
    executor loses is fetched again. They are removed at the end; those of a driver that was killed
    by the next one.

    Args:
        run: a run on Spark.
        points: zero vectors are none; a block is read at a time.
        clusters: K.

    Raises:
        ContractError: a point's length is neither 0 nor 1.
        TableError: the home can't be written.
    """
    from pyspark import StorageLevel

    from producers.topics.products import check_points

    place = f"{run.tables.bucket or run.tables.home}/{FOLDER}"
    width = points.array.shape[1]
    cut = list(blocks(points.count, width, clusters))
    with _staged(place) as objects:
        present = np.zeros(points.count, np.bool_)
        for number, rows in enumerate(cut):
            block = points.take(rows)
            present[rows] = check_points(block)
            objects.write(_name(number), _encode(block))
        context = run.spark.sparkContext
        firsts = [(number, rows.start) for number, rows in enumerate(cut)]
        fetched = context.parallelize(firsts, max(1, len(cut))).map(partial(_fetch, place))
        fetched.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            shape = (points.count, width)
            yield ExecutorPoints(context, fetched, np.flatnonzero(present), shape)
        finally:
            fetched.unpersist()


@contextmanager
def _staged(place: str) -> Iterator[Objects]:
    """The objects of a folder that is empty before and after."""
    objects = Objects(Address.parse(place))
    _empty(objects)
    try:
        yield objects
    finally:
        _empty(objects)
        if folder := objects.address.folder:
            folder.rmdir()


def _empty(objects: Objects) -> None:
    for key in objects.list():
        objects.delete(key)


def _name(number: int) -> str:
    return f"{number:06}.npy"


def _encode(points: NDArray[np.floating]) -> bytes:
    file = BytesIO()
    np.save(file, points, allow_pickle=False)
    return file.getvalue()


def _fetch(place: str, block: tuple[int, int]) -> Block:
    from producers.topics.products import check_points

    number, first = block
    address = Address.parse(place)
    if address.folder and not address.folder.is_dir():
        raise MachineError(
            explain(
                f"points of K-means, {place}",
                expected="a folder that all machines share",
                found="none on an executor",
                mend="put the home on a file system that all machines share, or in a bucket",
            )
        )
    content = Objects(address).read(_name(number))
    points = np.load(BytesIO(content), allow_pickle=False)
    return Block(number, first, points, check_points(points))


def _label(
    shared: Broadcast[NDArray[np.float32]], block: Block
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64]]:
    """As :func:`producers.topics.kmeans.label_block`, on this task's one core."""
    import torch

    from producers.topics.kmeans import label_block

    use_one_thread()
    centres = torch.from_numpy(shared.value)
    labels, cosines, sums = label_block(block.points, block.present, centres)
    return labels, cosines, sums.numpy()


def _sum_block(
    shared: Broadcast[NDArray[np.float32]], size: int, block: Block
) -> Iterator[tuple[Key, Summary | RangeSums]]:
    """A block's summary, and its sums in ranges of `size` clusters."""
    labels, cosines, sums = _label(shared, block)
    summary = summarize(labels, cosines, len(sums))
    yield (SUMMARY, block.number), summary
    clusters = np.flatnonzero(summary.sizes)
    ranges = clusters // size
    for number in np.unique(ranges):
        part = clusters[ranges == number]
        yield (int(number), block.number), RangeSums(part, sums[part])


def _add_in_order(
    parts: Iterable[tuple[Key, Summary | RangeSums]],
) -> Iterator[tuple[int, Summary | RangeSums]]:
    """Each range's total over its blocks, which come in their order."""
    for number, of_range in groupby(parts, key=lambda item: item[0][0]):
        yield number, reduce(add, (part for _, part in of_range))


def _farthest_of_block(
    shared: Broadcast[NDArray[np.float32]], sizes: NDArray[np.int64], count: int, block: Block
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Numbers of points among all, and their cosines."""
    labels, cosines, _ = _label(shared, block)
    rows = farthest(labels, cosines, sizes, count)
    return block.first + rows, cosines[rows]


def _labels_of_block(
    shared: Broadcast[NDArray[np.float32]], block: Block
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    labels, cosines, _ = _label(shared, block)
    return labels, cosines


def _rows_of_block(
    rows: NDArray[np.int64], block: Block
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Which places of `rows` are in the block, and those points."""
    places = np.flatnonzero((rows >= block.first) & (rows < block.first + len(block.points)))
    return places, block.points[rows[places] - block.first]
