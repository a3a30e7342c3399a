"""Figures of recommended lists against later clicks, and their intervals over users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000


class Interval(NamedTuple):
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float


def hit_rate(ranked: Sequence[int], clicked: frozenset[int], k: int) -> float:
    """Share of the clicked videos that are among the first k (also named recall@k).

    >>> hit_rate([5, 2, 9], frozenset({2, 9, 4}), 2)
    0.3333333333333333
    """
    return len(clicked.intersection(ranked[:k])) / len(clicked)


def ndcg(ranked: Sequence[int], clicked: frozenset[int], k: int) -> float:
    """Discounted gain of the hits among the first k, over that of the best list (Jarvelin 2002).

    sum of 1 / log2(1 + place) over the hits, over the same sum of places 1 to min(k, clicks).

    >>> round(ndcg([5, 2], frozenset({2}), 2), 3)  # 1 / log2(3)
    0.631
    """
    places = np.array([p for p, video in enumerate(ranked[:k], 1) if video in clicked])
    best = np.arange(1, 1 + min(k, len(clicked)))
    return float((1 / np.log2(1 + places)).sum() / (1 / np.log2(1 + best)).sum())


def over_users(values: NDArray[np.float64], users: NDArray[np.int64], seed: int) -> list[Interval]:
    """Means over users of each user's mean, with percentile intervals of a bootstrap over users.

    Columns are resampled together: the interval of a difference is that of a column of differences.

    Args:
        values: float64[R, M] of R requests.
        users: int64[R], whose they are.
        seed: of the resampling.
    """
    names, of = np.unique(users, return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, of, values)
    means = sums / np.bincount(of)[:, None]
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    low, high = np.quantile(draws @ means / len(names), (0.025, 0.975), axis=0)
    rows = zip(means.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return [Interval(*row) for row in rows]


def novelty(ranked: Sequence[int], share: NDArray[np.float64]) -> float:
    """Mean of -log2 of the share of users who clicked a video before (Vargas and Castells 2011).

    A video that nobody clicked counts as if one user had.

    >>> novelty([0, 1], np.array([0.5, 0.125]))
    2.0
    """
    return float(-np.log2(share[np.array(ranked, np.int64)]).mean()) if len(ranked) else 0.0


def coverage(lists: Iterable[Sequence[int]], videos: int) -> float:
    """Share of a catalogue's videos that are in any of the lists.

    >>> coverage([[0, 1], [1, 5]], 10)
    0.3
    """
    return len(set().union(*lists)) / videos
