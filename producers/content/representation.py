"""z of any videos from a joint model's weights, in numpy: a run that infers doesn't start torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from producers.unit_length import to_unit_length

COVER_BIT, TITLE_BIT = 1, 2
"""Of `content_blocks`: which block of z a video has."""
ROWS = 8_192
"""Represented at a time: memory beside z stays below 200 MB."""
EPSILON = 1e-5
"""Added to a block's variance; torch's layer normalisation has the same."""


def represent(
    weights: Mapping[str, NDArray[np.generic]],
    image_encodings: NDArray[np.float32],
    title_encodings: NDArray[np.float32],
    has_image: NDArray[np.bool_],
    has_title: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make z for clustering: the two blocks that enter the MMoE's experts (Eq. 1) at length 1.

    Sums are made in double precision, so that a video's row is the same beside any others. A
    missing block is zero; where one is missing the other is all of z.

    Args:
        weights: tensors of a :class:`~producers.content.joint_model.JointModel` by name; those of
            the MMoE aren't read.
        image_encodings: float32[N, image], f_C(x_I).
        title_encodings: float32[N, title], f_T(x_W).
        has_image: bool[N].
        has_title: bool[N].

    Returns:
        z, float32[N, D] of length 1, zero where both are missing; and `content_blocks`, int64[N].

    >>> one, yes, no = np.ones((1, 1), np.float32), np.array([True]), np.array([False])
    >>> [(represent({}, 3 * one, 4 * one, yes, has)[0] ** 2).round(4).tolist() for has in (yes, no)]
    [[[0.5, 0.5]], [[1.0, 0.0]]]
    """
    inputs = (("image", image_encodings, has_image), ("title", title_encodings, has_title))
    parts = [
        np.hstack([_block(weights, name, x[s], has[s]) for name, x, has in inputs])
        for s in (slice(i, i + ROWS) for i in range(0, len(has_image) or 1, ROWS))
    ]
    z = np.concatenate([to_unit_length(part).astype(np.float32) for part in parts])
    return z, (has_image * COVER_BIT + has_title * TITLE_BIT).astype(np.int64)


def _block(
    weights: Mapping[str, NDArray[np.generic]],
    name: str,
    encodings: NDArray[np.float32],
    has: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """A block of z, float64[n, width]: projected where the model projects, zero where missing."""
    block = encodings.astype(np.float64)
    matrix = weights.get(f"{name}_projection.weight")
    if matrix is not None:
        bias = weights[f"{name}_projection.bias"].astype(np.float64)
        block = block @ matrix.astype(np.float64).T + bias
        block -= block.mean(axis=1, keepdims=True)
        block /= np.sqrt((block**2).mean(axis=1, keepdims=True) + EPSILON)
    return to_unit_length(block * has[:, None])
