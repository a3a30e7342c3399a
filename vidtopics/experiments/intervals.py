"""Relative differences between two arms, with intervals for one look or for all looks.

All of it is on the scale of log(treatment / control), on which a lift is as far above 0 as its
reverse is below, and an interval excludes 0 exactly where p is below alpha.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vidtopics.errors import InputError, explain
from vidtopics.experiments.estimates import ArmEstimate


@dataclass(frozen=True)
class LogRatio:
    """log(treatment / control): `value`, its standard `error`, Welch's `degrees` of freedom."""

    value: float
    error: float
    degrees: float


@dataclass(frozen=True)
class Lift:
    """A relative difference treatment / control - 1 with its interval and p-value.

    * `relative`, `low`, `high`: 0.01 is one percent; the interval's level is 1 - alpha.
    * `p`: of "no difference".
    """

    relative: float
    low: float
    high: float
    p: float


def log_ratio(control: ArmEstimate, treatment: ArmEstimate, where: str) -> LogRatio:
    """Difference of the logs; its variance by the delta method, V / R^2 of each arm.

    Raises:
        InputError: an arm's mean is not above 0, so that there is no relative difference.

    >>> control, treatment = ArmEstimate(2.0, 0.0004, 99, 100), ArmEstimate(2.1, 0.0009, 99, 100)
    >>> ratio = log_ratio(control, treatment, "AVD")
    >>> round(ratio.value, 5), round(ratio.error, 5), round(ratio.degrees, 1)
    (0.04879, 0.01744, 177.2)
    """
    if min(control.mean, treatment.mean) <= 0:
        raise InputError(
            explain(
                where,
                expected="a mean above 0 in both arms, for a relative difference",
                found=f"{control.mean:g} in control, {treatment.mean:g} in treatment",
                mend="leave the metric out of experiment.yaml, or check the column that it reads",
            )
        )
    parts = [arm.variance / arm.mean**2 for arm in (control, treatment)]
    spread = sum(p**2 / a.degrees for p, a in zip(parts, (control, treatment), strict=True))
    degrees = sum(parts) ** 2 / spread if spread else math.inf
    return LogRatio(math.log(treatment.mean / control.mean), math.sqrt(sum(parts)), degrees)


def fixed_lift(ratio: LogRatio, alpha: float) -> Lift:
    """Interval and p by Student's t with Welch's degrees of freedom: for one look.

    >>> lift = fixed_lift(LogRatio(0.1, 0.05, math.inf), 0.05)
    >>> [round(x, 4) for x in (lift.relative, lift.low, lift.high, lift.p)]
    [0.1052, 0.002, 0.219, 0.0455]
    """
    if ratio.error == 0:
        return _certain(ratio)
    half = float(stats.t.isf(alpha / 2, ratio.degrees)) * ratio.error
    return _lift(ratio, half, 2 * float(stats.t.sf(abs(ratio.value) / ratio.error, ratio.degrees)))


def sequential_lift(ratio: LogRatio, alpha: float, expected_effect: float) -> Lift:
    """Interval and p that hold at all looks together, by a normal mixture over effects.

    With z = value / error and m = (log(1 + expected_effect) / error)^2 the likelihood ratio of the
    mixture N(0, log(1 + expected_effect)^2) against no effect is
    L = (1 + m)^-1/2 exp(z^2 m / (1 + m) / 2), p = min(1, 1 / L), and the half-width
    error * sqrt((1 + m) / m * (2 log(1 / alpha) + log(1 + m))). This is the mixture sequential
    probability ratio test (Johari et al. 2017) and, with an estimated variance, an asymptotic
    confidence sequence (Waudby-Smith et al. 2021, theorem 2.2 with m = n rho^2).

    It assumes that information grows by independent increments. Where days of one user correlate
    positively, as watching does, looks are more alike, so that the interval errs towards wide.

    >>> lift = sequential_lift(LogRatio(0.1, 0.02, math.inf), 0.05, 0.05)
    >>> [round(x, 4) for x in (lift.relative, lift.low, lift.high, lift.p)]
    [0.1052, 0.0399, 0.1745, 0.0001]
    """
    if ratio.error == 0:
        return _certain(ratio)
    m = (math.log1p(expected_effect) / ratio.error) ** 2
    z = ratio.value / ratio.error
    log_likelihood = z * z * m / (1 + m) / 2 - math.log1p(m) / 2
    return _lift(
        ratio, sequential_factor(m, alpha) * ratio.error, math.exp(min(0, -log_likelihood))
    )


def sequential_factor(m: float, alpha: float) -> float:
    """Half-width in standard errors of an interval for all looks; m as in `sequential_lift`.

    >>> round(sequential_factor(8.8, 0.05), 2)
    3.04
    """
    return math.sqrt((1 + m) / m * (2 * math.log(1 / alpha) + math.log1p(m)))


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for all of them together (Holm 1979): reject those at most alpha.

    >>> adjust_by_holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, steps)
    return [float(x) for x in adjusted]


def _lift(ratio: LogRatio, half: float, p: float) -> Lift:
    low, high = (_expm1(ratio.value + side * half) for side in (-1, 1))
    return Lift(_expm1(ratio.value), low, high, p)


def _expm1(x: float) -> float:
    return math.expm1(min(x, 700))  # a finite number, however wide an early look is


def _certain(ratio: LogRatio) -> Lift:
    relative = math.expm1(ratio.value)
    return Lift(relative, relative, relative, float(ratio.value == 0))
