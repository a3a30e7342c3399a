"""What recall by topics is compared with: popular, random, and two methods of the field.

Item-kNN and ALS are implicit's (Sarwar 2001; Hu, Koren and Volinsky 2008).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from vidtopics.evaluate.recall_log import Known

Peer = Callable[[int, Collection[int], int], list[int]]
"""(user, videos that must not come back, number) -> videos, best first."""
SHARES = (0.02, 0.1, 0.5, 1e9)
"""Half-lives of popularity that are tried, as shares of the time that the log covers."""
NEIGHBOURS = (("cosine", 50), ("cosine", 200), ("bm25", 50), ("bm25", 200))
FACTORS = ((16, 1.0), (16, 20.0), (64, 1.0), (64, 20.0))
"""Width and weight of a click (alpha) that are tried for ALS."""
THREADS = 1


@dataclass(frozen=True, eq=False)
class Past:
    """What all methods learn from: what was known at the cut, and who may be recommended."""

    known: Known
    is_live: NDArray[np.bool_]
    seed: int

    @property
    def clicks(self) -> csr_matrix:
        """Users by videos, 1 where clicked."""
        log, rows = self.known.log, self.known.rows[self.known.is_clicked]
        shape = (len(log.user_ids), len(log.video_ids))
        matrix = csr_matrix((np.ones(len(rows)), (log.user[rows], log.video[rows])), shape=shape)
        matrix.data[:] = 1
        return matrix


def popular(past: Past, share: float) -> Peer:
    """Videos by clicks, each click decayed by its age."""
    known, log = past.known, past.known.log
    rows = known.rows[known.is_clicked]
    ages = known.at_us - log.click_us[rows]
    half_life = max(share * (known.at_us - int(log.shown_us[0])), 1.0)
    weights = np.bincount(log.video[rows], 0.5 ** (ages / half_life), len(log.video_ids))
    order = np.argsort(np.where(past.is_live, -weights, np.inf), kind="stable")
    return partial(_first, order[: int(past.is_live.sum())].tolist())


def random(past: Past) -> Peer:
    """Live videos in an order of each user's own."""
    live = np.flatnonzero(past.is_live)

    def recommend(user: int, seen: Collection[int], number: int) -> list[int]:
        order = np.random.default_rng([past.seed, user]).permutation(live)
        return _first(order.tolist(), user, seen, number)

    return recommend


@contextmanager
def _learning() -> Iterator[None]:
    """BLAS on one thread beside implicit's own, as it asks for.

    Its notes on matrices that it made in another format itself are left out: nobody can mend them.
    """
    from implicit.utils import ParameterWarning

    with threadpool_limits(THREADS, "blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)
        yield


@_learning()
def item_knn(past: Past, rest: Peer, weighting: str, neighbours: int) -> Peer:
    """Videos that users clicked together with the user's own."""
    from implicit.nearest_neighbours import BM25Recommender, CosineRecommender

    kind = {"cosine": CosineRecommender, "bm25": BM25Recommender}[weighting]
    return _learned(kind(K=neighbours, num_threads=THREADS), past, rest)


@_learning()
def als(past: Past, rest: Peer, factors: int, alpha: float) -> Peer:
    """Weighted matrix factorisation of clicks."""
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=factors,
        alpha=alpha,
        regularization=0.05,
        iterations=10,
        num_threads=THREADS,
        random_state=past.seed,
    )
    return _learned(model, past, rest)


def union(first: Sequence[int], second: Sequence[int], number: int) -> list[int]:
    """Both lists in turn, each video once.

    >>> union([1, 2, 3], [2, 4], 4)
    [1, 2, 4, 3]
    """
    longest = max(len(first), len(second))
    pairs = (ranked[i] for i in range(longest) for ranked in (first, second) if i < len(ranked))
    return list(dict.fromkeys(pairs))[:number]


def _learned(model: Any, past: Past, rest: Peer) -> Peer:
    """The model's list, topped up by `rest`, as for a user without a click."""
    clicks = past.clicks
    model.fit(clicks, show_progress=False)

    def recommend(user: int, seen: Collection[int], number: int) -> list[int]:
        row = csr_matrix(clicks[user])  # implicit wants the class of before
        own: list[int] = []
        if row.nnz:
            wide = min(number + row.nnz + len(seen) + 100, clicks.shape[1])
            ids, scores = model.recommend(user, row, N=wide, filter_already_liked_items=True)
            ids = ids[(scores > 0) & (ids >= 0)]
            own = ids[past.is_live[ids]].tolist()
        top = _first(own, user, seen, number)
        return top + rest(user, {*seen, *top}, number - len(top))

    return recommend


def _first(ranked: list[int], user: int, seen: Collection[int], number: int) -> list[int]:
    return list(islice((video for video in ranked if video not in seen), number))
