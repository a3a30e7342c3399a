"""Taking the rows that matched: many wide rows at random places."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LARGEST = 2**31 - 1
"""Items that the 32-bit offsets of an Arrow list can count."""


def take_rows(rows: pa.Table, at: NDArray[np.int64]) -> pa.Table:
    """The rows of these numbers, in their order; nulls for -1.

    As `Table.take`, and faster for lists of one length.

    Arrow takes a list an item at a time. Topic IDs and vectors have as many items in each row as in
    the next: they are taken as rows of a fixed width, in less than half the time (docs/adr/0018).

    Args:
        rows: M rows, any columns.
        at: int64[N], numbers of rows, or -1.

    >>> topics = pa.table({"topic_ids": [[7, -1], None, [3, 9]], "topic_count": [1, 0, 2]})
    >>> take_rows(topics, np.array([2, -1, 1, 2])).to_pydict()
    {'topic_ids': [[3, 9], None, None, [3, 9]], 'topic_count': [2, None, 0, 2]}
    """
    where = pa.array(at, mask=at < 0)
    # Still several chunks where lists have more items than 32 bits count.
    whole = rows.combine_chunks().columns
    columns = [
        _take_values(c.chunk(0), at, where) if c.num_chunks == 1 else c.take(where) for c in whole
    ]
    return pa.Table.from_arrays(columns, schema=rows.schema)


def _take_values(column: pa.Array, at: NDArray[np.int64], where: pa.Array) -> pa.Array:
    fixed = fixed_lists(column)
    if fixed is None or len(at) * fixed[0].type.list_size > LARGEST:
        return column.take(where)
    lists, numbers = fixed
    chosen = at if numbers is None else np.where(at < 0, -1, numbers[at])
    hit = chosen >= 0
    hit_lists = lists.take(pa.array(chosen[hit]))
    offsets = np.concatenate([[0], np.cumsum(hit) * hit_lists.type.list_size])
    mask = None if hit.all() else pa.array(~hit)
    # A null has no items, as where Arrow takes the lists: the same join gives the same bytes.
    return type(column).from_arrays(
        pa.array(offsets, column.offsets.type), hit_lists.flatten(), type=column.type, mask=mask
    )


def fixed_lists(column: pa.Array) -> tuple[pa.FixedSizeListArray, NDArray[np.int64] | None] | None:
    """The lists as rows of a fixed width, nothing copied, and each list's number among them.

    A number is -1 for null; no numbers: each list is at its own place.

    None where lists have several lengths, or items of no fixed size.
    """
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return None
    if not (pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)):
        return None
    is_valid, ends = column.is_valid().to_numpy(zero_copy_only=False), column.offsets.to_numpy()
    lengths = np.diff(ends)
    width, has_items = int(lengths.max(initial=0)), lengths > 0  # a null may hold items, too
    items = column.values.slice(int(ends[0]), int(ends[-1] - ends[0]))
    if not width or not has_items[is_valid].all() or (lengths[has_items] != width).any():
        return None
    numbers = None if is_valid.all() else np.where(is_valid, np.cumsum(has_items) - 1, -1)
    return pa.FixedSizeListArray.from_arrays(items, width), numbers
