"""Counter-based random numbers.

Philox4x32-10, so that a draw depends on what it is for and on nothing else.

The key is (seed, stream), the counter is (user or video, item or block, day, refresh). There is no
sequential state: a user's draws don't depend on who else was simulated, on batches, threads or the
policy. Policies that are compared under one seed see common random numbers.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.jit import kernel

_MASK = np.uint64(0xFFFFFFFF)
_MULTIPLY = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_SHIFT = np.uint64(32)
_ROUNDS = 10
_STEP = 2.0**-32


class Stream(IntEnum):
    """The second half of the key: what a draw is for.

    Numbers stay, or old seeds give another world.
    """

    CENTRES = 1
    TASTE_NET = 2
    TOPIC_SHARE = 3
    WORDS = 4
    ITEM = 10
    ITEM_NORMAL = 11
    TITLE = 12
    TAGS = 13
    COVER = 14
    CLASS_LOOK = 15
    USER = 20
    USER_NORMAL = 21
    INTEREST = 22
    INTEREST_NORMAL = 23
    DRIFT = 24
    REPLACE = 25
    SESSION = 30
    SLATE = 31
    CLICK = 32
    WATCH = 33
    REFRESH = 34


@kernel
def philox(
    seed: int, stream: int, c0: int, c1: int, c2: int, c3: int
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Four 32-bit words, held in uint64, for one key and counter of 32-bit words.

    >>> [hex(int(w)) for w in philox(0, 0, 0, 0, 0, 0)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    k0, k1 = np.uint64(seed), np.uint64(stream)
    x0, x1, x2, x3 = np.uint64(c0), np.uint64(c1), np.uint64(c2), np.uint64(c3)
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLY[0] * x0, _MULTIPLY[1] * x2
        x0, x1, x2, x3 = (p1 >> _SHIFT) ^ x1 ^ k0, p1 & _MASK, (p0 >> _SHIFT) ^ x3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return x0, x1, x2, x3


@kernel
def uniform(word: np.uint64) -> float:
    """A 32-bit word as a number in the open interval (0, 1).

    >>> uniform(np.uint64(0)) > 0, uniform(np.uint64(2**32 - 1)) < 1
    (True, True)
    """
    return (np.float64(word) + 0.5) * _STEP


@kernel
def normal_pair(first: np.uint64, second: np.uint64) -> tuple[float, float]:
    """Two independent standard normal numbers from two words (Box and Muller, 1958)."""
    radius = np.sqrt(-2.0 * np.log(uniform(first)))
    angle = 2.0 * np.pi * uniform(second)
    return radius * np.cos(angle), radius * np.sin(angle)


@kernel
def _fill(
    seed: int, stream: int, rows: NDArray[np.int64], day: int, out: NDArray[np.float64], gauss: bool
) -> None:
    for i in range(rows.size):
        for block in range(out.shape[1] // 4):
            a, b, c, d = philox(seed, stream, rows[i], block, day, 0)
            four = (uniform(a), uniform(b), uniform(c), uniform(d))
            if gauss:
                four = normal_pair(a, b) + normal_pair(c, d)
            for j in range(4):
                out[i, 4 * block + j] = four[j]


def uniforms(
    seed: int, stream: int, rows: NDArray[np.int64], columns: int, *, day: int = 0
) -> NDArray[np.float64]:
    """Numbers in (0, 1), one row for each counter in `rows` [n]: [n, columns].

    A row depends on its counter alone.

    >>> draws = uniforms(7, 1, np.array([3, 9]), 2)
    >>> bool((draws[1] == uniforms(7, 1, np.array([9]), 2)[0]).all())
    True
    """
    return _draw(seed, stream, rows, columns, day, gauss=False)


def normals(
    seed: int, stream: int, rows: NDArray[np.int64], columns: int, *, day: int = 0
) -> NDArray[np.float64]:
    """Standard normal numbers, as :func:`uniforms`."""
    return _draw(seed, stream, rows, columns, day, gauss=True)


def _draw(
    seed: int, stream: int, rows: NDArray[np.int64], columns: int, day: int, *, gauss: bool
) -> NDArray[np.float64]:
    out = np.empty((rows.size, -(-columns // 4) * 4))
    _fill(seed, int(stream), np.ascontiguousarray(rows, dtype=np.int64), day, out, gauss)
    return out[:, :columns]
