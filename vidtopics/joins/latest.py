"""The latest row of each entity."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def latest(keys: pa.Table, event: NDArray[np.int64], created: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row numbers, ascending, of the rows with the greatest (event, created) of their key; of equal ones the last.

    Args:
        keys: the key's columns, N rows.
        event: int64[N].
        created: int64[N].

    >>> keys = pa.table({"video_id": ["a", "b", "a"]})
    >>> latest(keys, np.array([1, 1, 1]), np.array([3, 2, 2])).tolist()
    [0, 1]
    """
    codes = np.zeros(len(keys), np.int64)
    for column in keys.columns:
        encoded = column.combine_chunks().dictionary_encode()
        # Codes stay below the number of rows, so that those of several columns can't overflow.
        codes = np.unique(
            codes * (len(encoded.dictionary) + 1) + encoded.indices.fill_null(len(encoded.dictionary)),
            return_inverse=True,
        )[1]
    order = np.lexsort((created, event, codes))
    last = np.ones(len(codes), bool)
    last[:-1] = codes[order][1:] != codes[order][:-1]
    return np.sort(order[last])
