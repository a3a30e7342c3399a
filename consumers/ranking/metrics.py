"""What is measured of click probabilities, each figure with its share of every user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

TOP = 10
"""Places of NDCG."""
BINS = 10
"""Of the calibration error, equally many rows each."""
METRICS = ("auc", "user_auc", "log_loss", "ndcg")


@dataclass(frozen=True, eq=False)
class Groups:
    """N rows by their users, so that a bootstrap over users can weigh them.

    Attributes:
        user: int64[N], a number for each user from 0.
        clicked: bool[N].
        count: users.
    """

    user: NDArray[np.int64]
    clicked: NDArray[np.bool_]
    count: int

    @classmethod
    def of(cls, users: NDArray[np.int64], clicked: NDArray[np.bool_]) -> Groups:
        """From any codes of users."""
        _, user = np.unique(users, return_inverse=True)
        return cls(user.astype(np.int64), clicked, int(user.max(initial=-1)) + 1)


def area_under_curve(clicked: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """AUC, the chance that a clicked impression scores above one that wasn't.

    NaN where all or none were clicked.

    >>> clicked = np.array([True, False, True, False])
    >>> area_under_curve(clicked, np.array([0.9, 0.5, 0.5, 0.1], np.float32))
    0.875
    """
    both = clicked.any() and not clicked.all()
    return float(roc_auc_score(clicked, scores)) if both else float("nan")


def weighted_auc(
    clicked: NDArray[np.bool_], scores: NDArray[np.float32], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AUC under each of B weightings of the rows, float64[B, N] -> float64[B].

    The share of pairs of a clicked row and another, each pair at the product of its weights, in
    which the clicked one scores higher; ties count half.

    >>> clicked = np.array([True, False, True, False])
    >>> scores = np.array([0.9, 0.5, 0.5, 0.1], np.float32)
    >>> weighted_auc(clicked, scores, np.array([[1.0, 1, 1, 1], [0, 2, 1, 0]])).tolist()
    [0.875, 0.5]
    """
    order = np.argsort(scores, kind="stable")
    first = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    sorted_weights = weights[:, order]
    wins = np.add.reduceat(sorted_weights * clicked[order], first, axis=1)
    losses = np.add.reduceat(sorted_weights * ~clicked[order], first, axis=1)
    below = np.cumsum(losses, axis=1) - losses / 2
    pairs = wins.sum(1) * losses.sum(1)
    auc = np.full(len(weights), np.nan)
    np.divide((wins * below).sum(1), pairs, out=auc, where=pairs > 0)
    return auc


def user_figures(
    groups: Groups, scores: NDArray[np.float32]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Of metrics that are means over users: each user's sum and weight, float64[users] both.

    * `user_auc`: AUC within each user that has both kinds of rows, at the number of its rows.
    * `log_loss`: mean over rows.
    * `ndcg`: NDCG at 10 of each user's rows by score, gain 1 a click; users without one don't
      count. Equal scores take the worst order, so that a constant score gains nothing by it.
    """
    rows = np.bincount(groups.user, minlength=groups.count).astype(np.float64)
    clicks = np.bincount(groups.user, groups.clicked, groups.count)
    losses = np.bincount(groups.user, _log_losses(groups.clicked, scores), groups.count)
    has_clicks = (clicks > 0).astype(np.float64)
    has_both = (clicks > 0) & (clicks < rows)
    ranks = np.bincount(groups.user, _ranks(groups.user, scores) * groups.clicked, groups.count)
    pairs = np.where(has_both, clicks * (rows - clicks), 1)
    auc = (ranks - clicks * (clicks + 1) / 2) / pairs
    ideal = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(TOP) + 2))])
    best = ideal[np.minimum(clicks, TOP).astype(np.int64)]
    gain = _gains(groups, scores)
    return {
        "user_auc": (auc * rows * has_both, rows * has_both),
        "log_loss": (losses.astype(np.float64), rows),
        "ndcg": (gain / np.maximum(best, 1e-9), has_clicks),
    }


def calibration(clicked: NDArray[np.bool_], scores: NDArray[np.float32]) -> dict[str, float]:
    """Predicted clicks over real ones, and the expected calibration error.

    The latter is the mean of |click rate - mean score| over 10 bins of equally many rows.

    >>> calibration(np.array([True, False]), np.array([0.9, 0.3], np.float32))
    {'ratio': 1.2, 'error': 0.2}
    """
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    gaps = [abs(float(clicked[p].mean()) - float(scores[p].mean())) * len(p) for p in parts]
    ratio = float(scores.sum(dtype=np.float64)) / max(int(clicked.sum()), 1)
    return {"ratio": round(ratio, 6), "error": round(sum(gaps) / len(order), 6)}


def _places(user: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each row within its user, from 0; rows come sorted by user."""
    first = np.flatnonzero(np.diff(user, prepend=-1))
    lengths = np.diff(np.append(first, len(user)))
    places: NDArray[np.int64] = np.arange(len(user)) - np.repeat(first, lengths)
    return places


def _ranks(user: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rank of each row's score within its user, from 1; ties share their mean.

    >>> _ranks(np.array([0, 1, 0, 0]), np.array([0.5, 0.1, 0.2, 0.5], np.float32))
    array([2.5, 1. , 1. , 2.5])
    """
    order = np.lexsort((scores, user))
    changes = np.diff(user[order], prepend=-1) != 0
    changes |= np.diff(scores[order], prepend=np.float32(-1)) != 0
    tie = np.cumsum(changes) - 1
    places = _places(user[order]) + 1
    ranks = np.empty(len(user))
    ranks[order] = (np.bincount(tie, places) / np.bincount(tie))[tie] if len(tie) else ranks
    return ranks


def _gains(groups: Groups, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64[users], discounted clicks among each user's first ten rows by score."""
    order = np.lexsort((groups.clicked, -scores, groups.user))
    user = groups.user[order]
    places = _places(user)
    gain = groups.clicked[order] * (places < TOP) / np.log2(places + 2)
    return np.bincount(user, gain, groups.count).astype(np.float64)


def _log_losses(clicked: NDArray[np.bool_], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    chance = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return -np.log(np.where(clicked, chance, 1 - chance))
