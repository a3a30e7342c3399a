"""Intervals over users and training seeds: both are drawn anew, the same for all variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.metrics import METRICS, Groups, user_figures, weighted_auc

DRAWS = 400
BLOCK = 50
"""Draws whose weights of all rows are in memory at once."""
Interval = dict[str, float]
Scores = Mapping[str, NDArray[np.float32]]
"""By variant float32[S, N]: a row of probabilities a seed; seed s stands beside seed s."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Metrics of each variant, seed and draw of users; draw 0 is the sample itself.

    Attributes:
        values: by metric and variant, float64[S, 1 + draws].
        seeds: int64[1 + draws, S], the seeds of each draw.
    """

    values: Mapping[tuple[str, str], NDArray[np.float64]]
    seeds: NDArray[np.int64]

    def interval(self, metric: str, variant: str, less: str | None = None) -> Interval:
        """Mean over seeds, and the middle 95% of draws of users and seeds.

        `less`: of the paired difference from that variant.
        """
        values = self.values[metric, variant]
        if less is not None:
            values = values - self.values[metric, less]
        drawn = values[self.seeds.T, np.arange(values.shape[1])].mean(0)
        low, high = np.nanpercentile(drawn[1:], (2.5, 97.5))
        return {"mean": float(drawn[0]), "low": float(low), "high": float(high)}


def bootstrap(groups: Groups, scores: Scores, *, seed: int, draws: int = DRAWS) -> Draws:
    """Draws of users with replacement, and of as many seeds as there are.

    A user's rows are drawn together, as they depend on each other; a training seed's chance weighs
    as much as the users', so that an interval holds both.

    >>> groups = Groups.of(np.array([7, 7, 8, 8]), np.array([True, False, True, False]))
    >>> scores = {"a": np.array([[0.9, 0.1, 0.2, 0.3]], np.float32)}
    >>> bootstrap(groups, scores, seed=1, draws=50).interval("user_auc", "a")
    {'mean': 0.5, 'low': 0.0, 'high': 1.0}
    """
    random = np.random.default_rng(seed)
    count = len(next(iter(scores.values())))
    drawn = random.multinomial(groups.count, np.full(groups.count, 1 / groups.count), draws)
    users = np.vstack([np.ones(groups.count), drawn.astype(np.float64)])
    seeds = np.vstack([np.arange(count), random.integers(0, count, (draws, count))])
    values = {(metric, name): np.empty((count, draws + 1)) for metric in METRICS for name in scores}
    for name, rows in scores.items():
        for s, row in enumerate(rows):
            for start in range(0, draws + 1, BLOCK):
                part = slice(start, start + BLOCK)
                weights = users[part][:, groups.user]
                values["auc", name][s, part] = weighted_auc(groups.clicked, row, weights)
            for metric, (sums, each) in user_figures(groups, row).items():
                total = users @ each
                values[metric, name][s] = np.divide(
                    users @ sums, total, out=np.full(len(total), np.nan), where=total > 0
                )
    return Draws(values, seeds)
