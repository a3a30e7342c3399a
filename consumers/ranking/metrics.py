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
    order = np.lexsort((groups.clicked, -scores, groups.user))
    ends = np.cumsum(np.bincount(groups.user, minlength=groups.count))
    auc, ndcg, users = np.zeros(groups.count), np.zeros(groups.count), np.zeros((2, groups.count))
    for user, rows in enumerate(np.split(order, ends[:-1])):
        clicked = groups.clicked[rows]
        clicks = int(clicked.sum())
        if clicks:
            ndcg[user], users[1, user] = _gain(clicked) / _gain(np.sort(clicked)[::-1]), 1
        if 0 < clicks < len(rows):
            auc[user] = area_under_curve(clicked, scores[rows]) * len(rows)
            users[0, user] = len(rows)
    return {
        "user_auc": (auc, users[0]),
        "log_loss": (
            np.bincount(groups.user, _log_losses(groups.clicked, scores), groups.count).astype(
                float
            ),
            np.bincount(groups.user, minlength=groups.count).astype(np.float64),
        ),
        "ndcg": (ndcg, users[1]),
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


def _gain(clicked: NDArray[np.bool_]) -> float:
    top = clicked[:TOP]
    return float((top / np.log2(np.arange(len(top)) + 2)).sum())


def _log_losses(clicked: NDArray[np.bool_], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    chance = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return -np.log(np.where(clicked, chance, 1 - chance))
