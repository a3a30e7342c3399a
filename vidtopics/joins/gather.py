"""Rows in the order asked for, from batches of a table that come in any order."""

from __future__ import annotations

from itertools import pairwise
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.joins.payload import LARGEST, fixed_lists, take_rows

ROWS_OF_A_CHUNK = 1 << 14
"""Of columns that Arrow takes: a chunk of many wide lists would overflow its 32-bit offsets."""
MOVED_AT_ONCE = 1 << 10


class Gather:
    """N rows of a table of M rows, null where none is asked for.

    A list of fixed length, as topic IDs and vectors are, is copied once: from the batch to its
    place in the result (docs/adr/0029). Of other columns the rows asked for are held, each once,
    and taken at the end. Batches may come in any order and from several threads.

    Args:
        schema: the columns.
        at: int64[N], numbers of rows, or -1.

    >>> batch = pa.record_batch({"topic_ids": [[7, -1], [3, 9]], "title": ["a", "b"]})
    >>> gather = Gather(batch.schema, np.array([1, -1, 0]))
    >>> gather.add(batch, first_row=0)
    >>> gather.table().to_pydict()
    {'topic_ids': [[3, 9], None, [7, -1]], 'title': ['b', None, 'a']}
    """

    def __init__(self, schema: pa.Schema, at: NDArray[np.int64]) -> None:
        self._schema, self._is_hit = schema, at >= 0
        hits = at[self._is_hit]
        self._order = np.argsort(hits)
        self._rows = hits[self._order]
        self._columns = [_Column(field.type, len(hits)) for field in schema]

    def needs(self, first_row: int, count: int) -> bool:
        """Whether any of `count` rows is asked for."""
        low, high = self._span(first_row, count)
        return low < high

    def add(self, batch: pa.RecordBatch, first_row: int) -> None:
        """Take what is asked for of a batch; `first_row`: the number of its first row."""
        low, high = self._span(first_row, batch.num_rows)
        if low < high:
            targets, rows = self._order[low:high], self._rows[low:high] - first_row
            for column, values in zip(self._columns, batch.columns, strict=True):
                column.put(targets, values, rows)

    def table(self) -> pa.Table:
        """The N rows; may be called once, when all batches were added."""
        columns = [column.take(self._is_hit) for column in self._columns]
        return pa.Table.from_arrays(columns, schema=self._schema)

    def _span(self, first_row: int, count: int) -> tuple[int, int]:
        low, high = np.searchsorted(self._rows, [first_row, first_row + count])
        return int(low), int(high)


class _Column:
    """One column of the H rows that are asked for.

    `items`: [H, width], of lists of fixed length; `has_items`: bool[H]. Other values lie in
    `parts`, `places` int64[H] says where; a row that is in neither is null.
    """

    def __init__(self, kind: pa.DataType, hits: int) -> None:
        self._kind, self._lock = kind, Lock()
        self._items: NDArray[np.generic] | None = None
        self._has_items = np.zeros(hits, np.bool_)
        self._parts: list[pa.Array] = []
        self._places = np.full(hits, -1, np.int64)
        self._part_rows = 0

    def put(self, targets: NDArray[np.int64], values: pa.Array, rows: NDArray[np.int64]) -> None:
        """Rows (ascending) of a batch to `targets`, which no other batch has."""
        if values.null_count == len(values):
            return
        fixed = fixed_lists(values)
        if fixed is None or fixed[0].values.null_count:
            self._hold(targets, values, rows)
            return
        lists, numbers = fixed
        items = lists.flatten().to_numpy().reshape(len(lists), -1)
        with self._lock:
            if self._items is None:
                self._items = np.empty((len(self._has_items), items.shape[1]), items.dtype)
        if self._items.shape[1] != items.shape[1]:
            self._hold(targets, values, rows)
            return
        if numbers is not None:
            rows = numbers[rows]
            targets, rows = targets[rows >= 0], rows[rows >= 0]
        self._items[targets] = items[rows]
        self._has_items[targets] = True

    def take(self, is_hit: NDArray[np.bool_]) -> pa.ChunkedArray:
        """The column of all N rows."""
        if self._parts:
            return self._taken(is_hit, _bounds(len(is_hit), ROWS_OF_A_CHUNK))
        is_valid = np.zeros(len(is_hit), np.bool_)
        is_valid[is_hit] = self._has_items
        if self._items is None:
            return pa.chunked_array([pa.nulls(len(is_hit), self._kind)])
        items = _packed(self._items, self._has_items)
        ends = np.concatenate([[0], np.cumsum(is_valid)])
        chunks = [
            _lists(items[ends[low] : ends[high]], is_valid[low:high], self._kind)
            for low, high in pairwise(_bounds(len(is_hit), max(1, LARGEST // items.shape[1])))
        ]
        return pa.chunked_array(chunks, self._kind)

    def _hold(self, targets: NDArray[np.int64], values: pa.Array, rows: NDArray[np.int64]) -> None:
        needed, back = np.unique(rows, return_inverse=True)
        part = values.take(pa.array(needed))
        with self._lock:
            self._places[targets] = self._part_rows + back
            self._parts.append(part)
            self._part_rows += len(part)

    def _taken(self, is_hit: NDArray[np.bool_], bounds: list[int]) -> pa.ChunkedArray:
        """Where not all batches had lists of the same length."""
        if self._items is not None:
            targets = np.flatnonzero(self._has_items)
            for start in range(0, len(targets), ROWS_OF_A_CHUNK):
                part = targets[start : start + ROWS_OF_A_CHUNK]
                self._parts.append(
                    _lists(self._items[part], np.ones(len(part), np.bool_), self._kind)
                )
            self._places[targets] = self._part_rows + np.arange(len(targets))
        rows = pa.table({"": pa.chunked_array(self._parts, self._kind)}).combine_chunks()
        at = np.full(len(is_hit), -1, np.int64)
        at[is_hit] = self._places
        chunks = [
            take_rows(rows, at[low:high])[""].combine_chunks() for low, high in pairwise(bounds)
        ]
        return pa.chunked_array(chunks, self._kind)


def _bounds(rows: int, step: int) -> list[int]:
    """Where chunks of the result begin and end; there is at least one.

    >>> _bounds(5, 2), _bounds(0, 2)
    ([0, 2, 4, 5], [0, 0])
    """
    return [*range(0, max(rows, 1), step), rows]


def _packed(items: NDArray[np.generic], is_valid: NDArray[np.bool_]) -> NDArray[np.generic]:
    """The valid rows, moved to the front in place: a copy would double the largest column."""
    if is_valid.all():
        return items
    end = 0
    for start in range(0, len(items), MOVED_AT_ONCE):
        part = slice(start, start + MOVED_AT_ONCE)
        moved = items[part][is_valid[part]]
        items[end : end + len(moved)] = moved
        end += len(moved)
    return items[:end]


def _lists(items: NDArray[np.generic], is_valid: NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """Lists of [K, width] items, nothing copied; a null has none, as where Arrow takes lists."""
    of = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    ends = np.concatenate([[0], np.cumsum(is_valid) * items.shape[1]])
    offsets = pa.array(ends, pa.int64() if pa.types.is_large_list(kind) else pa.int32())
    mask = None if is_valid.all() else pa.array(~is_valid)
    return of.from_arrays(offsets, pa.array(items.reshape(-1)), type=kind, mask=mask)
