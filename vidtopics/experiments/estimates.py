"""A metric's value in each arm, with its variance: delta method, CUPED, post-stratification.

All metrics are ratios R = sum y / sum d over users (a mean has d = 1). Users are the units that
were randomised, so variances are over users, whatever the number of their events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
MIN_STRATUM_USERS = 10
"""Users of a stratum in each arm; strata below are joined."""


@dataclass(frozen=True)
class Sample:
    """A metric's values of N users.

    * `numerator`, `denominator`: float64[N] y and d of each user.
    * `arm`: int64[N], 0 to arms - 1.
    * `stratum`: int64[N] from 0, known before the experiment.
    * `pre_numerator`, `pre_denominator`: float64[N], the same in the pre-period, or None.
    """

    numerator: Floats
    denominator: Floats
    arm: Codes
    stratum: Codes
    pre_numerator: Floats | None = None
    pre_denominator: Floats | None = None

    def select(self, mask: NDArray[np.bool_]) -> Sample:
        """The users of a mask."""
        columns: dict[str, Any] = {
            name: None if column is None else column[mask] for name, column in vars(self).items()
        }
        return Sample(**columns)


@dataclass(frozen=True)
class ArmEstimate:
    """A metric's estimate in one arm.

    * `mean`: R, adjusted; `variance`: of R; `degrees`: of freedom of the variance.
    * `users`: users of the arm.
    """

    mean: float
    variance: float
    degrees: float
    users: int


@dataclass(frozen=True)
class Estimates:
    """Estimates of all arms; `coefficient` is CUPED's theta, 0 without a pre-period."""

    arms: tuple[ArmEstimate, ...]
    coefficient: float
    influence: Floats
    """float64[N]: what a user adds to the arm's R, times the arm's users; its mean is 0."""


def estimate_arms(sample: Sample, arms: int) -> Estimates:
    """R of each arm, adjusted by the pre-period and by strata, with its variance.

    Per arm: R = sum_s w_s ybar_s / sum_s w_s dbar_s, w_s the share of stratum s among all users
    (post-stratification: Miratrix, Sekhon, Yu 2013), less theta (X_arm - X), X the same ratio in
    the pre-period (CUPED: Deng et al. 2013, theta from all arms within strata). The variance is
    that of the linearised values (y - R d) / dbar - theta (x - X e) / ebar (delta method: Deng,
    Knoblich, Lu 2018), sum_s w_s^2 s_s^2 / n_s.

    Args:
        sample: users' values; each arm has at least two users in every stratum.
        arms: number of arms.

    >>> sample = Sample(np.array([1.0, 3.0, 2.0, 6.0]), np.ones(4), np.array([0, 0, 1, 1]),
    ...                 np.zeros(4, np.int64))
    >>> [(arm.mean, arm.variance) for arm in estimate_arms(sample, 2).arms]
    [(2.0, 1.0), (4.0, 4.0)]
    """
    cells = _Cells(sample.arm, sample.stratum, arms)
    ratio, values = _linearise(cells, sample.numerator, sample.denominator)
    theta = 0.0
    if sample.pre_numerator is not None and sample.pre_denominator is not None:
        pair = (sample.pre_numerator, sample.pre_denominator)
        if pair[1].any() and min(cells.arm_means(pair[1])) > 0:
            pre_ratio, pre_values = _linearise(cells, *pair)
            theta = _coefficient(sample)
            ratio = ratio - theta * (pre_ratio - pair[0].sum() / pair[1].sum())
            values = values - theta * pre_values
    variance, degrees = cells.variance(values)
    users = np.bincount(sample.arm, minlength=arms)
    estimates = (
        ArmEstimate(float(ratio[a]), float(variance[a]), float(degrees[a]), int(users[a]))
        for a in range(arms)
    )
    return Estimates(tuple(estimates), theta, values)


class _Cells:
    """Users by arm and stratum, and weighted moments over them."""

    def __init__(self, arm: Codes, stratum: Codes, arms: int) -> None:
        strata = int(stratum.max(initial=0)) + 1
        self.arm, self.shape = arm, (arms, strata)
        self.cell = arm * strata + stratum
        self.count = self._sum(np.ones(len(arm)))
        self.weight = self.count.sum(axis=0) / len(arm)

    def _sum(self, values: Floats) -> Floats:
        size = self.shape[0] * self.shape[1]
        sums = np.bincount(self.cell, values, minlength=size).astype(np.float64)
        return sums.reshape(self.shape)

    def arm_means(self, values: Floats) -> Floats:
        """float64[arms]: sum_s w_s mean_s."""
        means: Floats = (self._sum(values) / self.count) @ self.weight
        return means

    def variance(self, values: Floats) -> tuple[Floats, Floats]:
        """float64[arms] variance of `arm_means`, and Satterthwaite's degrees of freedom."""
        means = (self._sum(values) / self.count).ravel()
        squares = self._sum((values - means[self.cell]) ** 2) / (self.count - 1)
        parts = self.weight**2 * squares / self.count
        variance = parts.sum(axis=1)
        spread = (parts**2 / (self.count - 1)).sum(axis=1)
        zero = spread == 0
        degrees = np.where(
            zero, self.count.sum(axis=1) - 1, variance**2 / np.where(zero, 1, spread)
        )
        return variance, degrees


def _linearise(cells: _Cells, numerator: Floats, denominator: Floats) -> tuple[Floats, Floats]:
    """float64[arms] ratio of each arm, and float64[N] (y - R d) / dbar."""
    mean = cells.arm_means(denominator)
    ratio = cells.arm_means(numerator) / mean
    values = (numerator - ratio[cells.arm] * denominator) / mean[cells.arm]
    return ratio, values


def _coefficient(sample: Sample) -> float:
    """Theta = cov(u, v) / var(v) within strata, u and v linearised over all arms together."""
    together = _Cells(np.zeros_like(sample.arm), sample.stratum, 1)
    assert sample.pre_numerator is not None
    assert sample.pre_denominator is not None
    _, values = _linearise(together, sample.numerator, sample.denominator)
    _, pre_values = _linearise(together, sample.pre_numerator, sample.pre_denominator)
    centred = pre_values - _stratum_means(sample.stratum, pre_values)
    spread = float(centred @ centred)
    return float(centred @ values) / spread if spread > 0 else 0.0


def _stratum_means(stratum: Codes, values: Floats) -> Floats:
    means: Floats = (np.bincount(stratum, values) / np.maximum(np.bincount(stratum), 1))[stratum]
    return means


def join_small_strata(stratum: Codes, arm: Codes, arms: int) -> Codes:
    """int64[N] strata from 0, each with at least `MIN_STRATUM_USERS` users in each arm.

    Those with fewer are joined, and the smallest of the others with them until they have enough.

    >>> codes = np.repeat([0, 1, 2], [40, 3, 30])
    >>> np.bincount(join_small_strata(codes, np.arange(73) % 2, 2)).tolist()
    [40, 33]
    """
    strata = int(stratum.max(initial=0)) + 1
    counts = np.bincount(arm * strata + stratum, minlength=arms * strata).reshape(arms, strata)
    smallest = counts.min(axis=0)
    target, rest = np.arange(strata), np.zeros(arms, np.int64)
    for place in np.argsort(smallest, kind="stable"):
        if smallest[place] >= MIN_STRATUM_USERS and (
            not rest.any() or rest.min() >= MIN_STRATUM_USERS
        ):
            break
        target[place] = strata
        rest += counts[:, place]
    return np.unique(target[stratum], return_inverse=True)[1].astype(np.int64)
