"""What another policy would have earned, from a log with propensities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vidtopics.errors import InputError, explain
from vidtopics.experiments.estimates import Codes, Floats

MIN_EFFECTIVE = 100.0
"""Effective rows below which an estimate is that of a handful of rows, and is refused."""


@dataclass(frozen=True)
class PolicyLog:
    """N logged actions.

    * `reward`: float64[N]; `propensity`: float64[N] the logging policy's probability of the action
      that it took; `target`: float64[N] that of the policy in question.
    * `cluster`: int64[N], rows of one user depend on each other.
    * `predicted`, `expected`: float64[N] a reward model's value of the action taken, and its mean
      under the policy in question; both or none.
    """

    reward: Floats
    propensity: Floats
    target: Floats
    cluster: Codes
    predicted: Floats | None = None
    expected: Floats | None = None


@dataclass(frozen=True)
class PolicyValue:
    """The mean reward of a row under the policy, with an interval over clusters."""

    value: float
    low: float
    high: float


def effective_size(weights: Floats) -> float:
    """(sum w)^2 / sum w^2: rows of equal weight that are worth as much (Kish 1965).

    >>> effective_size(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def estimate_policy(log: PolicyLog, alpha: float = 0.05) -> dict[str, PolicyValue]:
    """IPS, self-normalised IPS and, with a reward model, the doubly robust estimate.

    With w = target / propensity: IPS = mean w r (Horvitz, Thompson 1952); SNIPS = sum w r / sum w
    (Swaminathan, Joachims 2015); DR = mean (q_pi + w (r - q)) (Dudik et al. 2014). Intervals are
    normal, over clusters, for SNIPS by the delta method.

    Raises:
        InputError: a propensity is 0 or no probability, or the effective size is below 100: the
            policies do different things, and the log says nothing of what this one does.

    >>> log = PolicyLog(np.tile([1.0, 0.0], 100), np.full(200, 0.5), np.tile([0.8, 0.2], 100),
    ...                 np.arange(200))
    >>> {name: round(value.value, 4) for name, value in estimate_policy(log).items()}
    {'IPS': 0.8, 'SNIPS': 0.8}
    """
    _check_probabilities(log)
    weights = log.target / log.propensity
    size = effective_size(weights)
    if size < MIN_EFFECTIVE:
        raise InputError(
            explain(
                "off-policy estimate",
                expected=f"an effective sample size of {MIN_EFFECTIVE:.0f} or more",
                found=f"{size:.1f} of {len(weights):,} rows (largest weight {weights.max():.3g})",
                mend="log more rows, let the logging policy explore more, or judge a policy that "
                "is nearer to it",
            )
        )
    ones = np.ones(len(weights))
    values = {
        "IPS": _ratio_value(weights * log.reward, ones, log.cluster, alpha),
        "SNIPS": _ratio_value(weights * log.reward, weights, log.cluster, alpha),
    }
    if log.predicted is not None and log.expected is not None:
        corrected = log.expected + weights * (log.reward - log.predicted)
        values["DR"] = _ratio_value(corrected, ones, log.cluster, alpha)
    return values


def _check_probabilities(log: PolicyLog) -> None:
    for name, values, lowest in (("propensity", log.propensity, ">"), ("target", log.target, ">=")):
        bad = (values > 1) | ((values <= 0) if lowest == ">" else (values < 0))
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                explain(
                    f"off-policy log, {name}, row {row + 1}",
                    expected=f"a probability {lowest} 0 and at most 1",
                    found=f"{values[row]:g} ({int(bad.sum()):,} such rows)",
                    mend="log the probability with which the action was drawn",
                )
            )


def _ratio_value(
    numerator: Floats, denominator: Floats, cluster: Codes, alpha: float
) -> PolicyValue:
    """Sum over sum, its variance from the clusters' linearised totals."""
    value = float(numerator.sum() / denominator.sum())
    totals = np.bincount(cluster, numerator - value * denominator)
    totals = totals[np.bincount(cluster) > 0]
    clusters = len(totals)
    variance = clusters * float(totals.var(ddof=1)) / float(denominator.sum()) ** 2
    half = float(stats.norm.isf(alpha / 2)) * math.sqrt(variance)
    return PolicyValue(value, value - half, value + half)
