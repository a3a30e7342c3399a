"""Ids as text, made from arrays of numbers.

The log of millions of rows has five of them in each.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

DIGITS = 7
"""Of a video's or user's number: `v0000012`; more where there are more than ten million."""


def numbered(letter: str, numbers: NDArray[np.integer], count: int) -> pa.StringArray:
    """Ids of the videos or users with these `numbers`, out of `count`.

    >>> numbered("v", np.array([0, 12]), 2_000).to_pylist()
    ['v0000000', 'v0000012']
    """
    return texts(len(numbers), letter, (numbers, width(count)))


def width(count: int) -> int:
    """Digits that numbers below `count` take in ids."""
    return max(DIGITS, len(str(count - 1)))


def texts(n: int, *parts: str | tuple[NDArray[np.integer], int]) -> pa.StringArray:
    """Strings [n] of one length: ASCII literals, and (numbers [n], digits), one after the other.

    >>> texts(2, "r", (np.array([7, 13]), 3)).to_pylist()
    ['r007', 'r013']
    """
    columns = [_literal(n, part) if isinstance(part, str) else _digits(*part) for part in parts]
    letters = np.concatenate(columns, axis=1)
    ends = np.arange(n + 1, dtype=np.int32) * letters.shape[1]
    return pa.StringArray.from_buffers(
        n, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(letters))
    )


def _literal(n: int, text: str) -> NDArray[np.uint8]:
    return np.broadcast_to(np.frombuffer(text.encode("ascii"), dtype=np.uint8), (n, len(text)))


def _digits(numbers: NDArray[np.integer], digits: int) -> NDArray[np.uint8]:
    powers = 10 ** np.arange(digits - 1, -1, -1)
    return (numbers.astype(np.int64)[:, None] // powers % 10 + ord("0")).astype(np.uint8)
