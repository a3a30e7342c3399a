"""Bags of ids as sparse matrices: a row per bag, a column per id, weights that add up to 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Matrix = sparse.csr_array


def unit_rows(bags: Matrix) -> Matrix:
    """Rows divided by their sums; empty ones stay."""
    sums = np.asarray(bags.sum(axis=1)).reshape(-1)
    scale = np.divide(1, sums, out=np.zeros(len(sums), np.float32), where=sums > 0)
    return Matrix(sparse.diags_array(scale.astype(np.float32)) @ bags)


def bags(offsets: NDArray[np.int64], codes: NDArray[np.int64], width: int) -> Matrix:
    """[Q, width]: the known (above 0) codes of each bag at one over their number."""
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[codes > 0]
    ones = np.ones(len(rows), np.float32)
    return unit_rows(
        sparse.csr_array((ones, (rows, codes[codes > 0])), shape=(len(offsets) - 1, width))
    )


def mean_topics(offsets: NDArray[np.int64], rows: NDArray[np.int64], topics: Matrix) -> Matrix:
    """[Q, T]: mean of the rows of `topics` that each bag names; rows without topics don't count."""
    bag = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[rows >= 0]
    ones = np.ones(len(bag), np.float32)
    counts = sparse.csr_array(
        (ones, (bag, rows[rows >= 0])), shape=(len(offsets) - 1, topics.shape[0])
    )
    return unit_rows(Matrix(counts @ topics))
