"""How an effect goes from day to day: does a novelty wear off, or is something learned?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from vidtopics.experiments.estimates import Codes, Floats


@dataclass(frozen=True)
class Slope:
    """Change of log(treatment / control) a day: 0.001 is a tenth of a percent a day."""

    per_day: float
    low: float
    high: float
    p: float


def estimate_slope(
    numerator: Floats, denominator: Floats, is_treated: Codes, alpha: float
) -> Slope | None:
    """Least-squares slope of the daily log ratio over days; None where a day has no ratio.

    slope = sum_d c_d log(R_td / R_cd), c_d = (d - dbar) / sum (d - dbar)^2. A user adds
    sum_d c_d (y_d - R_d d_d) / (dbar_d R_d) to its arm's part, so that the variance is over users
    and the days of a user may depend on each other in any way (delta method).

    Args:
        numerator: float64[N, D] y of each user and day.
        denominator: float64[N, D] d of each user and day.
        is_treated: int64[N], 1 in treatment, 0 in control.
        alpha: 1 - level of the interval.

    >>> daily = np.array([[1.0, 2.0], [3.0, 2.0], [1.0, 3.0], [3.0, 5.0]])
    >>> slope = estimate_slope(daily, np.ones((4, 2)), np.array([0, 0, 1, 1]), 0.05)
    >>> round(slope.per_day, 4)  # the ratio doubles from the first day to the second
    0.6931
    """
    days = numerator.shape[1]
    if days < 2:
        return None
    weights = np.arange(days) - (days - 1) / 2
    weights /= weights @ weights
    value = variance = 0.0
    for arm, sign in ((0, -1), (1, 1)):
        y, d = numerator[is_treated == arm], denominator[is_treated == arm]
        mean, total = y.mean(axis=0), d.mean(axis=0)
        if len(y) < 2 or mean.min() <= 0 or total.min() <= 0:
            return None
        influence = (y / mean - d / total) @ weights
        value += sign * float(weights @ np.log(mean / total))
        variance += float(influence.var(ddof=1)) / len(y)
    if variance == 0:
        return None
    half = float(stats.norm.isf(alpha / 2)) * variance**0.5
    p = 2 * float(stats.norm.sf(abs(value) / variance**0.5))
    return Slope(value, value - half, value + half, p)
