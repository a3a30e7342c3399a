"""Rows of a table by their numbers, where a column may have more values than 32 bits count."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LARGEST = 2**30
"""Bytes that are taken at once: no column of them has values beyond Arrow's 32-bit offsets."""


def take(rows: pa.Table, numbers: NDArray[np.int64]) -> pa.Table:
    """As `rows.take(numbers)`, which joins a column's chunks first: lists overflow at 2^31 values.

    Larger tables are taken in parts, each from the chunks where its rows lie.

    >>> take(pa.table({"topic_ids": [[7, 1], [3, 9]]}), np.array([1, 0, 1])).to_pydict()
    {'topic_ids': [[3, 9], [7, 1], [3, 9]]}
    """
    if rows.nbytes <= LARGEST or not len(numbers):
        return rows.take(pa.array(numbers))
    size = max(1, int(len(rows) * LARGEST / rows.nbytes))
    firsts = range(0, len(numbers), size)
    return pa.concat_tables([_gather(rows, numbers[first : first + size]) for first in firsts])


def _gather(rows: pa.Table, numbers: NDArray[np.int64]) -> pa.Table:
    batches = rows.to_batches()
    starts = np.cumsum([0, *(len(batch) for batch in batches)])
    order = np.argsort(numbers, kind="stable")
    ascending = numbers[order]
    bounds = np.searchsorted(ascending, starts)
    pieces = [
        batch.take(pa.array(ascending[first:end] - start))
        for batch, start, (first, end) in zip(batches, starts, pairwise(bounds), strict=False)
        if end > first
    ]
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return pa.Table.from_batches(pieces, rows.schema).take(pa.array(places))
