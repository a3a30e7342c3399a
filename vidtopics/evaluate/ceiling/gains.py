"""AUC of a logistic regression by what it knows of a simulated world, with intervals over users.

The regression learns from the first four fifths of the impressions by time and is judged on the
last, once for each variant of its features. Intervals are those of a bootstrap over users that is
paired: every variant is judged on the same draws, so that differences and ratios of variants have
intervals, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from vidtopics.evaluate.ceiling.consumer import Consumer
from vidtopics.evaluate.ceiling.log import Floats, Ints

DRAWS = 200
"""Of the bootstrap."""
LEVEL = 0.95
Features = Iterator[Floats]
"""Of a variant, float64[N, F]: once, or once for each permutation that it is the mean of."""


def bootstrap_aucs(
    consumer: Consumer, variants: Iterable[tuple[str, Features]]
) -> dict[str, Floats]:
    """AUC on the test rows by variant, float64[1 + DRAWS]: of all users, then of each draw."""
    weights = _bootstrap_weights(consumer)
    return {
        name: np.mean([_aucs(consumer, one, weights) for one in features], axis=0)
        for name, features in variants
    }


def interval(figures: Floats) -> dict[str, float]:
    """Mean, low and high of a figure [1 + DRAWS]: of all users, and the middle 95% of the draws.

    >>> interval(np.array([5.0, 4.0, 5.0, 6.0]))
    {'mean': 5.0, 'low': 4.05, 'high': 5.95}
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(figures[1:], [tail, 1 - tail])
    return {"mean": float(figures[0]), "low": float(low), "high": float(high)}


def weighted_auc(clicked: NDArray[np.bool_], scores: Floats, weights: Floats) -> float:
    """Share of pairs of a clicked and an unclicked row, by weight, that the scores order right.

    >>> clicked = np.array([True, False, True, False])
    >>> weighted_auc(clicked, np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0]))
    0.75
    """
    return _auc_of_ranks(clicked, np.unique(scores, return_inverse=True)[1], weights)


def _auc_of_ranks(clicked: NDArray[np.bool_], rank: Ints, weights: Floats) -> float:
    """The same by the scores' ranks from 0 on, equal ones sharing one."""
    size = int(rank.max()) + 1
    positive = np.bincount(rank, weights * clicked, minlength=size)
    negative = np.bincount(rank, weights * ~clicked, minlength=size)
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def _aucs(consumer: Consumer, features: Floats, weights: Floats) -> Floats:
    """AUC on the test rows with each row of `weights` [1 + DRAWS, U] over users."""
    trains, clicked = consumer.trains, consumer.log.clicked
    x = (features - features[trains].mean(axis=0)) / np.maximum(features[trains].std(axis=0), 1e-9)
    model = LogisticRegression(solver="newton-cholesky").fit(x[trains], clicked[trains])
    rank = np.unique(model.decision_function(x[~trains]), return_inverse=True)[1]
    user = consumer.log.user[~trains]
    return np.array([_auc_of_ranks(clicked[~trains], rank, draw[user]) for draw in weights])


def _bootstrap_weights(consumer: Consumer) -> Floats:
    """How often each user is drawn, [1 + DRAWS, U]; in the first row each once."""
    users = consumer.world.settings.users
    drawn = np.random.default_rng(0).multinomial(users, np.full(users, 1 / users), size=DRAWS)
    return np.vstack([np.ones(users), drawn])
