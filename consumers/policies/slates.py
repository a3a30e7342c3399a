"""From ranked lists to slates: the best in turn, a small share of slots for exploration."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.philox import Stream, philox, uniform

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
EXPLORATION = 0.05
"""Share of slots that any live video gets with equal chance: otherwise no new video were ever
shown, as nothing is known of it."""
_ATTEMPTS = 16
_SLATE = Stream.SLATE.value


def fill_slates(
    seed: int,
    day: int,
    refresh: int,
    users: Ints,
    live: Codes,
    ranked: Codes,
    exploration: float,
    slates: Codes,
    propensities: NDArray[np.float32],
) -> None:
    """Fill slates [n, k] and the probability of each video given those before it.

    A slot takes, with probability 1 - `exploration`, the best of the list that isn't in the slate
    yet, else any other live video with equal chance. Draws are keyed by user, slot, day, refresh.

    Args:
        seed: of the world.
        day: of the round.
        refresh: of the round.
        users: int64[n].
        live: videos that may be shown, at least k.
        ranked: int32[n, C], each user's videos, the best first, -1 behind the last.
        exploration: share of slots; 1: a uniform draw of the live videos.
        slates: int32[n, k], to be filled.
        propensities: float32[n, k], likewise.

    >>> slates, odds = np.zeros((1, 2), np.int32), np.zeros((1, 2), np.float32)
    >>> live, ranked = np.arange(4, dtype=np.int32), np.array([[3, 1, 0]], np.int32)
    >>> fill_slates(7, 0, 0, np.array([5]), live, ranked, 0.0, slates, odds)
    >>> slates.tolist(), odds.tolist()
    ([[3, 1]], [[1.0, 1.0]])
    """
    _fill(seed, day, refresh, users, live, ranked, exploration, slates, propensities)


@numba.njit(cache=True, nogil=True)
def _fill(
    seed: int,
    day: int,
    refresh: int,
    users: Ints,
    live: Codes,
    ranked: Codes,
    exploration: float,
    slates: Codes,
    propensities: NDArray[np.float32],
) -> None:
    for i in range(len(users)):
        for k in range(slates.shape[1]):
            best = -1
            for video in ranked[i]:
                if video < 0 or not _holds(slates[i], k, video):
                    best = video
                    break
            share = exploration if best >= 0 else 1.0
            w0, _, _, _ = philox(seed, _SLATE, users[i], k * _ATTEMPTS, day, refresh)
            video = best
            if uniform(w0) < share:
                video = _any_other(seed, day, refresh, users[i], live, slates[i], k)
            slates[i, k] = video
            odds = share / (len(live) - k)
            propensities[i, k] = odds + 1.0 - share if video == best else odds


@numba.njit(cache=True, nogil=True)
def _any_other(
    seed: int, day: int, refresh: int, user: int, live: Codes, slate: Codes, k: int
) -> int:
    """A live video that isn't among the slate's first k."""
    place = 0
    for attempt in range(_ATTEMPTS):
        _, w1, _, _ = philox(seed, _SLATE, user, k * _ATTEMPTS + attempt, day, refresh)
        place = int(uniform(w1) * len(live))
        if not _holds(slate, k, live[place]):
            break
    while _holds(slate, k, live[place]):
        place = (place + 1) % len(live)
    return int(live[place])


@numba.njit(cache=True, nogil=True)
def _holds(slate: Codes, k: int, video: int) -> bool:
    held = False
    for j in range(k):
        held |= slate[j] == video
    return held
