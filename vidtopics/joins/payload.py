"""Taking the rows that matched: many wide rows at random places."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LARGEST = 2**31 - 1
"""Items that the 32-bit offsets of an Arrow list can count."""


def taken(rows: pa.Table, at: NDArray[np.int64]) -> pa.Table:
    """The rows of these numbers, in their order; nulls for -1. As `Table.take`, and faster for lists of one length.

    Arrow takes a list an item at a time. Topic IDs and vectors have as many items in each row as in the next: they are taken as rows of
    a fixed width, a third of the time (`vidtopics bench join`).

    Args:
        rows: M rows, any columns.
        at: int64[N], numbers of rows, or -1.

    >>> topics = pa.table({"topic_ids": [[7, -1], None, [3, 9]], "topic_count": [1, 0, 2]})
    >>> taken(topics, np.array([2, -1, 1, 2])).to_pydict()
    {'topic_ids': [[3, 9], None, None, [3, 9]], 'topic_count': [2, None, 0, 2]}
    """
    where = pa.array(at, mask=at < 0)
    whole = rows.combine_chunks().columns  # still several chunks where lists have more items than 32 bits count
    columns = [_taken(c.chunk(0), at, where) if c.num_chunks == 1 else c.take(where) for c in whole]
    return pa.Table.from_arrays(columns, schema=rows.schema)


def _taken(column: pa.Array, at: NDArray[np.int64], where: pa.Array) -> pa.Array:
    width = _width(column)
    if not width or len(at) * width > LARGEST:
        return column.take(where)
    if column.null_count:  # numbers among the rows that have a list
        there = column.is_valid().to_numpy(zero_copy_only=False)
        numbers = np.where(there, np.cumsum(there) - 1, -1)
        at = np.where(at < 0, -1, numbers[at])
    hit = at >= 0
    lists = pa.FixedSizeListArray.from_arrays(column.flatten(), width).take(pa.array(at[hit]))
    ends = np.cumsum(hit) * width
    offsets = pa.array(np.concatenate([[0], ends]), pa.int64() if pa.types.is_large_list(column.type) else pa.int32())
    mask = None if hit.all() else pa.array(~hit)
    return type(column).from_arrays(offsets, lists.flatten(), type=column.type, mask=mask)


def _width(column: pa.Array) -> int:
    """Items in each list where all have as many, of a fixed size and none null; else 0."""
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or column.null_count == len(column):
        return 0
    if not (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        return 0
    lengths = column.value_lengths().drop_null().to_numpy()
    uniform = (lengths == lengths[0]).all() and not column.flatten().null_count
    return int(lengths[0]) if uniform else 0
