"""Vectors brought to length 1, the form in which a cosine is a dot product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def lengths(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """float64[N]: the Euclidean length of each row of [N, D]."""
    norms: NDArray[np.float64] = np.linalg.norm(rows.astype(np.float64, copy=False), axis=1)
    return norms


def to_unit_length(rows: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """float64[N, D]: rows divided by their lengths; zero rows stay.

    >>> to_unit_length(np.array([[3, 4], [0, 0]], np.float32)).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    length = lengths(rows)[:, None]
    unit: NDArray[np.float64] = np.zeros(rows.shape)
    np.divide(rows, length, out=unit, where=length > 0)
    return unit
