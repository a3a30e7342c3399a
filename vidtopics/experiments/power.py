"""Power before the start: which effect can an experiment detect, or how many users does it take?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import optimize, stats

from vidtopics.errors import InputError, explain
from vidtopics.experiments.estimates import Floats
from vidtopics.experiments.intervals import sequential_factor


@dataclass(frozen=True)
class Baseline:
    """How a metric varies, relative to its mean: a user's day is 1 + b + w.

    * `between`: variance of b, which is a user's own; `within`: of w, a day's own.
    """

    between: float
    within: float

    def variance(self, days: int, pre_days: int = 0) -> float:
        """Relative variance of one user's mean over `days`, adjusted by `pre_days` before (CUPED).

        V_D = between + within / D; the pre-period takes away the share rho^2 =
        between^2 / (V_D V_P). Days are equally correlated whatever lies between them, so that
        drifting tastes make it too small for long experiments.

        >>> Baseline(1.0, 2.0).variance(2), Baseline(1.0, 2.0).variance(2, 2)
        (2.0, 1.5)
        """
        plain = self.between + self.within / days
        if not pre_days or not self.between:
            return plain
        return plain - self.between**2 / (self.between + self.within / pre_days)


@dataclass(frozen=True)
class Design:
    """An experiment to be: two arms' shares of the users, and how it is decided.

    * `alpha`: error rate of one comparison, corrected for their number beforehand (Bonferroni,
      what Holm's first step asks).
    * `expected_effect`: of a sequential decision; None: a fixed horizon.
    """

    control_share: float
    treatment_share: float
    alpha: float
    power: float = 0.8
    expected_effect: float | None = None

    def error(self, variance: float, users: float) -> float:
        """Standard error of log(treatment / control) with `users` users to share."""
        shares = 1 / self.control_share + 1 / self.treatment_share
        return math.sqrt(variance * shares / users)

    def critical(self, error: float) -> float:
        """Standard errors beyond which an effect counts (at the end, if sequential)."""
        if self.expected_effect is None:
            return float(stats.norm.isf(self.alpha / 2))
        return sequential_factor((math.log1p(self.expected_effect) / error) ** 2, self.alpha)


def detectable_effect(design: Design, variance: float, users: float) -> float:
    """The relative effect that is found with the design's power.

    >>> design = Design(0.5, 0.5, alpha=0.05)
    >>> round(detectable_effect(design, variance=1.0, users=100_000), 4)
    0.0179
    """
    error = design.error(variance, users)
    return math.expm1((design.critical(error) + float(stats.norm.ppf(design.power))) * error)


def predict_power(design: Design, variance: float, users: float, effect: float) -> float:
    """The probability that a relative effect is found.

    >>> round(predict_power(Design(0.5, 0.5, alpha=0.05), 1.0, 100_000, 0.0179), 2)
    0.8
    """
    error = design.error(variance, users)
    shift, critical = math.log1p(effect) / error, design.critical(error)
    return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))


def required_users(design: Design, variance: float, effect: float) -> int:
    """Users to share among the arms so that a relative effect is found with the design's power.

    >>> required_users(Design(0.5, 0.5, alpha=0.05), 1.0, 0.0179)
    99743
    """
    target = abs(math.log1p(effect))
    quantile = float(stats.norm.ppf(design.power))

    def excess(log_users: float) -> float:
        error = design.error(variance, math.exp(log_users))
        return target - (design.critical(error) + quantile) * error

    return math.ceil(math.exp(float(optimize.brentq(excess, 0.0, 100.0, xtol=1e-12))))


def estimate_baseline(numerator: Floats, denominator: Floats, where: str) -> Baseline:
    """Variance components of a metric from a log of days, of the values (y - R d) / dbar + R.

    Values are centred by day, so that a weekend is no user's noise. The components are those of
    one-way random effects (method of moments).

    Args:
        numerator: float64[N, P] y of each user and day.
        denominator: float64[N, P] d of each user and day; 1 for a mean.
        where: what messages call the metric.

    Raises:
        InputError: fewer than two users or two days, or a mean that is not above 0.

    >>> import numpy as np
    >>> days = np.array([[1.0, 3.0], [5.0, 7.0], [3.0, 2.0]])
    >>> baseline = estimate_baseline(days, np.ones((3, 2)), "ART")
    >>> round(baseline.between, 4), round(baseline.within, 4)
    (0.3265, 0.1224)
    """
    users, days = numerator.shape
    mean = float(denominator.mean())
    ratio = float(numerator.mean()) / mean if mean > 0 else 0.0
    if users < 2 or days < 2 or ratio <= 0:
        raise InputError(
            explain(
                where,
                expected="two users and two days or more, with a mean above 0",
                found=f"{users:,} users, {days} days, mean {ratio:g}",
                mend="deliver a longer pre-period, and set `pre_days` to its length",
            )
        )
    values = (numerator - ratio * denominator) / (mean * ratio)
    values = values - values.mean(axis=0)
    means = values.mean(axis=1)
    within = float(((values - means[:, None]) ** 2).sum()) / ((users - 1) * (days - 1))
    between = float(means.var(ddof=1)) - within / days
    return Baseline(max(0.0, between), within)
