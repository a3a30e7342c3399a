"""Groups chosen over a pre-period, before anyone looks at the experiment (paper, section IV-E)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from vidtopics.experiments.estimates import Codes, Floats, Sample, estimate_arms
from vidtopics.experiments.intervals import log_ratio


@dataclass(frozen=True)
class GroupPair:
    """Two groups, the sum of their squared standardised differences, and the largest difference."""

    first: int
    second: int
    distance: float
    largest: float


def rank_group_pairs(
    metrics: Sequence[tuple[Floats, Floats]], group: Codes, groups: int
) -> list[GroupPair]:
    """All pairs of groups by likeness in the pre-period, the most alike first.

    The distance is the sum over metrics of (log ratio / its standard error)^2. A pair that was
    chosen for likeness has less of the noise that an interval without the pre-period allows for, so
    that such an interval errs towards wide; with CUPED it is right.

    Args:
        metrics: float64[N] numerators and denominators of each metric.
        group: int64[N] group of each user; every group has two users or more.
        groups: number of groups.

    >>> value = np.array([1.0, 2.0, 5.0, 7.0, 1.0, 2.5])
    >>> best = rank_group_pairs([(value, np.ones(6))], np.array([0, 0, 1, 1, 2, 2]), 3)[0]
    >>> best.first, best.second
    (0, 2)
    """
    zeros = np.zeros_like(group)
    estimates = [estimate_arms(Sample(y, d, group, zeros), groups).arms for y, d in metrics]
    pairs = []
    for first, second in combinations(range(groups), 2):
        ratios = [log_ratio(arms[first], arms[second], "pre-period") for arms in estimates]
        distance = sum((r.value / r.error) ** 2 for r in ratios if r.error)
        largest = max((abs(np.expm1(r.value)) for r in ratios), default=0.0)
        pairs.append(GroupPair(first, second, float(distance), float(largest)))
    return sorted(pairs, key=lambda pair: pair.distance)


def choose_groups(pairs: Sequence[GroupPair], count: int) -> list[int]:
    """The `count` groups that are most alike: with the least sum of distances between them.

    Args:
        pairs: all pairs of groups.
        count: two or more, not more than there are groups.

    >>> pairs = [GroupPair(0, 1, 1.0, 0), GroupPair(0, 2, 2.0, 0), GroupPair(1, 2, 9.0, 0)]
    >>> choose_groups(pairs, 2), choose_groups(pairs, 3)
    ([0, 1], [0, 1, 2])
    """
    distances = {(pair.first, pair.second): pair.distance for pair in pairs}
    groups = sorted({group for pair in distances for group in pair})
    chosen = min(
        combinations(groups, count),
        key=lambda some: sum(distances[pair] for pair in combinations(some, 2)),
    )
    return list(chosen)
