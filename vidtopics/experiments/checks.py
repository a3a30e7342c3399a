"""Checks that stand before a verdict: was the experiment what was declared?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

THRESHOLD = 0.001
"""p below which a check fails. Each runs at every look, so that .05 would fail in every experiment
sooner or later; at .001 a failure is a defect, as in Fabijan et al. 2019."""

Outcome = Literal["passed", "warning", "stopped", "not checked"]


@dataclass(frozen=True)
class Check:
    """A check's outcome; a `stopped` one withholds the verdict."""

    name: str
    outcome: Outcome
    detail: str
    p: float | None = None


def check_sample_ratio(
    users: Mapping[str, int],
    shares: Sequence[float],
    *,
    name: str = "sample ratio",
    failure: Outcome = "stopped",
) -> Check:
    """Do the arms have the declared shares of the users? Pearson's chi-square.

    Args:
        users: users by arm.
        shares: declared shares, in the same order, 1 together.
        name: the check's.
        failure: outcome where p is below .001.

    >>> check_sample_ratio({"control": 10_000, "topics": 9_000}, [0.5, 0.5]).detail
    'topics has 500 users too few of 9,500 expected (-5.26%); p = 4e-13'
    """
    counts = np.array(list(users.values()), float)
    expected = counts.sum() * np.asarray(shares)
    if not counts.sum():
        return Check(name, "not checked", "no users")
    p = float(stats.chisquare(counts, expected).pvalue)
    worst = int(np.argmin((counts - expected) / np.sqrt(expected)))
    arm, lost = list(users)[worst], expected[worst] - counts[worst]
    shown = ", ".join(f"{arm} {count:,}" for arm, count in users.items())
    if p >= THRESHOLD:
        return Check(name, "passed", f"{shown}; p = {p:.2g}", p)
    detail = (
        f"{arm} has {lost:,.0f} users too few of {expected[worst]:,.0f} expected"
        f" ({-lost / expected[worst]:.2%}); p = {p:.2g}"
    )
    return Check(name, failure, detail, p)


def check_independence(
    name: str,
    counts: NDArray[np.int64],
    detail: str,
    *,
    failure: Outcome = "stopped",
) -> Check:
    """Are rows and columns of a table of counts independent? Pearson's chi-square, p < .001.

    >>> check_independence("other test", np.array([[90, 10], [10, 90]]), "users").outcome
    'stopped'
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        return Check(name, "not checked", f"{detail}: nothing to compare")
    p = float(stats.chi2_contingency(counts, correction=False).pvalue)
    outcome: Outcome = "passed" if p >= THRESHOLD else failure
    return Check(name, outcome, f"{detail}; p = {p:.2g}", p)
