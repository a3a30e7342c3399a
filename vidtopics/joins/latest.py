"""The latest row of each entity."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.joins.keys import KeyCodes, ordered


def latest(
    keys: pa.Table, event: NDArray[np.int64], created: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Row numbers, ascending, of each key's greatest (event, created); of equal ones the last.

    Args:
        keys: the key's columns, N rows; null is a value like any other.
        event: int64[N].
        created: int64[N].

    >>> keys = pa.table({"video_id": ["a", "b", "a"]})
    >>> latest(keys, np.array([1, 1, 1]), np.array([3, 2, 2])).tolist()
    [0, 1]
    """
    codes = KeyCodes(keys, null_is_a_key=True).rows
    order = ordered(codes, event, created)
    last = np.ones(len(order), bool)
    last[:-1] = codes[order][1:] != codes[order][:-1]
    return np.sort(order[last])
