"""The plan of an experiment: effects that it can find, users that it takes, groups that are alike.

What `vidtopics power` shows, from a pre-period's log or from figures.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidtopics.errors import InputError, SettingsError, explain
from vidtopics.experiments.bucketing import bucket
from vidtopics.experiments.declaration import FILE, Experiment, Metric, read_experiment
from vidtopics.experiments.estimates import Floats
from vidtopics.experiments.groups import rank_group_pairs
from vidtopics.experiments.log import read_pre_period
from vidtopics.experiments.power import (
    Baseline,
    Design,
    detectable_effect,
    estimate_baseline,
    predict_power,
    required_users,
)

HORIZONS = (1, 3, 7, 14, 28)
"""Days at which the least effect is shown, beside the declared length."""
SHOWN_PAIRS = 5


@dataclass(frozen=True)
class Figures:
    """A metric in figures: mean and standard deviation of a user's day, and the experiment's size.

    * `correlation`: between two days of one user.
    * `shares`: of control and the other arms, as text.
    """

    mean: float | None
    sd: float | None
    correlation: float
    users: int | None
    shares: str
    days: int
    pre_days: int

    @property
    def baseline(self) -> Baseline:
        """Variance components, relative to the mean."""
        if self.mean is None or self.sd is None or self.mean <= 0 or self.sd <= 0:
            raise SettingsError(
                explain(
                    "vidtopics power",
                    expected="a FOLDER, or --mean and --sd above 0",
                    found=f"--mean {self.mean}, --sd {self.sd}",
                    mend="name the folder of experiment.yaml, or give both figures",
                )
            )
        variance = (self.sd / self.mean) ** 2
        return Baseline(variance * self.correlation, variance * (1 - self.correlation))


def plan_from_figures(
    figures: Figures, *, effect: float | None, power: float, alpha: float, comparisons: int
) -> dict[str, Any]:
    """The plan for one metric in figures.

    Raises:
        SettingsError: a figure is missing or impossible.

    >>> figures = Figures(10.0, 20.0, 0.5, 100_000, "0.5,0.5", 7, 7)
    >>> plan = plan_from_figures(figures, effect=None, power=0.8, alpha=0.05, comparisons=1)
    >>> round(plan["metrics"][0]["arms"][0]["detectable_effect"], 4)
    0.0131
    """
    baseline = figures.baseline
    if figures.users is None and effect is None:
        raise SettingsError(
            explain(
                "vidtopics power",
                expected="--users or --effect",
                found="neither",
                mend="give --users for the least effect, --effect for the users, or both",
            )
        )
    shares = _read_shares(figures.shares)
    designs = {
        f"arm {place}": Design(shares[0], share, alpha / comparisons, power)
        for place, share in enumerate(shares[1:], 1)
    }
    metric = _plan_metric(baseline, designs, figures.users, figures.days, figures.pre_days, effect)
    return {
        "decision": "fixed",
        "alpha": alpha,
        "power": power,
        "comparisons": comparisons,
        "users": figures.users,
        "days": figures.days,
        "pre_days": figures.pre_days,
        "effect": effect,
        "metrics": [{"metric": "the metric", **metric}],
        "groups": None,
    }


def plan_from_log(
    folder: Path,
    *,
    days: int | None,
    users: int | None,
    effect: float | None,
    power: float,
    groups: int | None,
) -> dict[str, Any]:
    """The plan for the experiment that `folder` declares, from its pre-period's log.

    Raises:
        SettingsError: `experiment.yaml` can't be read, or groups are asked for without a salt.
        InputError: the pre-period can't be read, or is too short.
    """
    experiment = read_experiment(folder)
    user_ids, daily = read_pre_period(experiment, folder)
    size, length = users or len(user_ids), days or experiment.days
    populations = sum(len(metric.populations) for metric in experiment.metrics.values())
    comparisons = populations * len(experiment.treatments)
    decision = experiment.decision
    total = {
        name: len(numbers) / experiment.buckets for name, numbers in experiment.arm_buckets.items()
    }
    designs = {
        name: Design(
            total[experiment.control],
            total[name],
            decision.alpha / comparisons,
            power,
            decision.expected_effect,
        )
        for name in experiment.treatments
    }
    metrics = []
    for name, metric in experiment.metrics.items():
        baseline = estimate_baseline(*_values(metric, daily), f"{folder}, {name}")
        plan = _plan_metric(baseline, designs, size, length, experiment.pre_days, effect)
        metrics.append({"metric": name, **plan})
    return {
        "decision": decision.kind,
        "alpha": decision.alpha,
        "power": power,
        "comparisons": comparisons,
        "users": size,
        "days": length,
        "pre_days": experiment.pre_days,
        "effect": effect,
        "metrics": metrics,
        "groups": _groups(experiment, user_ids, daily, groups) if groups else None,
    }


def _values(metric: Metric, daily: dict[str, Floats]) -> tuple[Floats, Floats]:
    numerator = daily[metric.value]
    return numerator, np.ones_like(numerator) if metric.per is None else daily[metric.per]


def _plan_metric(
    baseline: Baseline,
    designs: dict[str, Design],
    users: int | None,
    days: int,
    pre_days: int,
    effect: float | None,
) -> dict[str, Any]:
    variance, plain = baseline.variance(days, pre_days), baseline.variance(days)
    horizons = sorted({*HORIZONS, days})
    first = next(iter(designs.values()))
    return {
        **asdict(baseline),
        "variance_reduction": 1 - variance / plain,
        "arms": [
            {
                "arm": name,
                "detectable_effect": users and detectable_effect(design, variance, users),
                "power": users and effect and predict_power(design, variance, users, effect),
                "required_users": effect and required_users(design, variance, effect),
            }
            for name, design in designs.items()
        ],
        "horizons": {
            day: detectable_effect(first, baseline.variance(day, pre_days), users)
            for day in horizons
        }
        if users
        else {},
    }


def _groups(
    experiment: Experiment, user_ids: list[str], daily: dict[str, Floats], groups: int
) -> list[dict[str, Any]]:
    """The pairs of groups that are most alike over the pre-period."""
    if experiment.salt is None:
        raise SettingsError(
            explain(
                FILE,
                expected="a salt, from which the groups follow",
                found="none",
                mend="declare `salt`, or leave out --groups",
            )
        )
    salt = experiment.salt
    group = np.array([bucket(user, salt, groups) for user in user_ids], np.int64)
    sizes = Counter(group.tolist())
    if min(sizes[number] for number in range(groups)) < 2:
        raise InputError(
            explain(
                "--groups",
                expected="at least two users in each group",
                found=f"{len(user_ids):,} users for {groups} groups",
                mend="ask for fewer groups",
            )
        )
    metrics = [
        (numerator.sum(axis=1), denominator.sum(axis=1) if metric.per else denominator[:, 0])
        for metric in experiment.metrics.values()
        for numerator, denominator in [_values(metric, daily)]
    ]
    pairs = rank_group_pairs(metrics, group, groups)[:SHOWN_PAIRS]
    return [asdict(pair) | {"users": [sizes[pair.first], sizes[pair.second]]} for pair in pairs]


def _read_shares(text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) < 2 or not all(0 < share <= 1 for share in shares) or sum(shares) > 1 + 1e-9:
        raise SettingsError(
            explain(
                "--shares",
                expected="two or more shares above 0, at most 1 together",
                found=repr(text),
                mend="write --shares 0.5,0.5",
            )
        )
    return shares
