"""The greatest cosines of few points: by numpy, where it gives the same bytes as the kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDOFF = 2.0**-53
ELEMENTS = 2**24
"""Terms of all sums together, 128 MB, above which the kernel is the quicker one."""


def settle_few(
    x: NDArray[np.float32],
    centres: NDArray[np.float32],
    norms: NDArray[np.float64],
    products: NDArray[np.float32],
    margin: np.float32,
    rank: NDArray[np.int64],
    cosine: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Fill `rank` and `cosine` as :func:`producers.topics.settling_kernel.settle` would.

    Numpy adds in another order than the kernel. Both sums of D terms lie within D roundings of the
    exact one (Higham 2002, section 3.1); a row is settled here where every value in that reach
    rounds to the same single.

    Args:
        x: float32[N, D], length 1 or zero.
        centres: float32[K, D].
        norms: float64[K], their lengths.
        products: float32[N, K], rough cosines, off by `margin` at most.
        margin: of two products that are compared.
        rank: int64[N, slots], filled with centres by falling cosine.
        cosine: float32[N, slots], filled with cosines.

    Returns:
        bool[N]: whether a row was settled; the others are left to the kernel.
    """
    slots = min(rank.shape[1], len(centres))
    least = np.partition(products, len(centres) - slots, axis=1)[:, len(centres) - slots]
    row, centre = np.nonzero(products >= (least - margin)[:, None])
    if len(row) * x.shape[1] > ELEMENTS:
        return np.zeros(len(x), np.bool_)
    value, is_certain = _cosines(x, centres[centre], norms[centre], row)
    settled = np.ones(len(x), np.bool_)
    settled[row[~is_certain]] = False
    order = np.lexsort((centre, -value, row))
    row, centre, value = row[order], centre[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    used = (place < slots) & settled[row]
    rank[row[used], place[used]] = centre[used]
    cosine[row[used], place[used]] = value[used]
    return settled


def _cosines(
    x: NDArray[np.float32],
    centres: NDArray[np.float32],
    norms: NDArray[np.float64],
    row: NDArray[np.intp],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cosines of pairs of a row of `x` and a centre, and whether any order of addition gives them.

    float32[P] and bool[P]; a zero row has cosine 0.
    """
    points = x.astype(np.float64)
    terms = points[row] * centres
    scale = np.sqrt(np.einsum("nd,nd->n", points, points))[row] * norms
    scale[scale == 0] = 1
    value = terms.sum(axis=1) / scale + 0.0  # -0.0 is 0.0
    # Two sums, one squared length each, and the roundings of the quotient.
    reach = 4 * (x.shape[1] + 8) * ROUNDOFF * np.abs(terms).sum(axis=1) / scale
    low, high = (value - reach).astype(np.float32), (value + reach).astype(np.float32)
    return value.astype(np.float32), low.view(np.int32) == high.view(np.int32)
