"""The greatest cosines of many points, from products that say which centres may be among them."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, parallel=True)
def settle(
    x: NDArray[np.float32],
    centres: NDArray[np.float32],
    norms: NDArray[np.float64],
    bits: NDArray[np.int16] | NDArray[np.int32],
    margin: np.float32,
    rank: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> None:
    """Fill `rank` and `cosine` from the centres whose product may be among the greatest."""
    slots = min(rank.shape[1], len(centres))
    shift = np.uint32(32 - 8 * bits.itemsize)  # bfloat16 is the upper half of float32
    for row in numba.prange(len(x)):
        products = (bits[row].astype(np.uint32) << shift).view(np.float32)
        limit = _least_of_greatest(products, slots) - margin
        length = np.sqrt(_dot(x[row], x[row]))
        used = 0
        for centre in range(len(centres)):
            if products[centre] < limit:
                continue
            if length == 0 and used == slots:
                break
            value = np.float32(0)
            if length > 0:
                value = np.float32(_dot(x[row], centres[centre]) / (length * norms[centre]))
            place = used
            while place > 0 and cosine[row, place - 1] < value:
                place -= 1
            if place == slots:
                continue
            used = min(used + 1, slots)
            for later in range(used - 1, place, -1):
                rank[row, later] = rank[row, later - 1]
                cosine[row, later] = cosine[row, later - 1]
            rank[row, place], cosine[row, place] = centre, value


@numba.njit(cache=True)
def _least_of_greatest(values: NDArray[np.float32], count: int) -> np.float32:
    """The `count`-th greatest value."""
    greatest = np.full(count, -np.inf, np.float32)  # ascending
    for value in values:
        if value > greatest[0]:
            place = 0
            while place + 1 < count and greatest[place + 1] < value:
                greatest[place] = greatest[place + 1]
                place += 1
            greatest[place] = value
    least: np.float32 = greatest[0]
    return least


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Double precision, in one order for one length: the order that vectors of the CPU give."""
    total = 0.0
    for i in range(len(x)):
        total += np.float64(x[i]) * np.float64(y[i])
    return total
