"""The true effects of an experiment, where everybody was observed under every arm.

That is so in a simulated world (`vidtopics simulate ab`). `truth.json` beside the log has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from vidtopics.errors import InputError, explain
from vidtopics.experiments.declaration import Metric, Population
from vidtopics.experiments.estimates import Floats
from vidtopics.files import write_whole

FILE = "truth.json"
LEVEL = 0.95


@dataclass(frozen=True)
class TrueEffect:
    """A metric's relative difference between everybody in `arm` and everybody in control.

    `low` and `high`: of 95%, over users, for another draw of what they do by chance.
    """

    metric: str
    population: Population
    arm: str
    control: float
    treatment: float
    relative: float
    low: float
    high: float


def true_effects(
    metrics: Mapping[str, Metric],
    control: Mapping[str, Floats],
    arms: Mapping[str, Mapping[str, Floats]],
) -> list[TrueEffect]:
    """The effect of each arm on each metric, over all users.

    Users are paired with themselves: on the scale of log ratios a user's influence on
    R = sum y / sum d is y / ybar - d / dbar, and the variance is that of its difference between
    the two runs (delta method).

    Args:
        metrics: what is compared.
        control: float64[N] by outcome column, totals of each user where all are in control, and
            `exposed`, 1 for active users.
        arms: the same of each other arm.

    Raises:
        InputError: a mean isn't above 0.

    >>> mean = {"UVD": Metric(kind="mean", value="watch_seconds")}
    >>> one = np.ones(4)
    >>> runs = [{"watch_seconds": y, "exposed": one} for y in (one, 1.5 * one)]
    >>> [effect] = true_effects(mean, runs[0], {"topics": runs[1]})
    >>> effect.relative, effect.high - effect.low
    (0.5, 0.0)
    """
    return [
        _effect(name, metric, population, arm, control, totals)
        for name, metric in metrics.items()
        for population in metric.populations
        for arm, totals in arms.items()
    ]


def _effect(
    name: str,
    metric: Metric,
    population: Population,
    arm: str,
    control: Mapping[str, Floats],
    treated: Mapping[str, Floats],
) -> TrueEffect:
    (before, first), (after, second) = (
        _ratio(f"{name}, {place}", metric, population, totals)
        for place, totals in (("control", control), (arm, treated))
    )
    difference = second - first
    error = float(difference.std(ddof=1)) / np.sqrt(len(difference))
    shift = np.log(after / before)
    width = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    relative, low, high = (float(np.expm1(shift + step)) for step in (0.0, -width, width))
    return TrueEffect(name, population, arm, before, after, round(relative, 12), low, high)


def _ratio(
    where: str, metric: Metric, population: Population, totals: Mapping[str, Floats]
) -> tuple[float, Floats]:
    """A metric's value over all users, and each user's influence on its logarithm."""
    y = np.asarray(totals[metric.value], float)
    exposed = np.asarray(totals["exposed"], float)
    d = exposed if population == "active" else np.ones_like(y)
    if metric.per is not None:
        d = np.asarray(totals[metric.per], float)
    if not (y.mean() > 0 and d.mean() > 0):
        raise InputError(
            explain(
                where,
                expected="a mean above 0",
                found=f"{y.mean():g} per {d.mean():g}",
                mend="run more users or days",
            )
        )
    return float(y.mean() / d.mean()), y / y.mean() - d / d.mean()


def write_truth(folder: Path, effects: Sequence[TrueEffect], users: int) -> None:
    """Write `truth.json`: the effects, and over how many users they are."""
    tree = {"users": users, "effects": [asdict(effect) for effect in effects]}
    write_whole(folder / FILE, json.dumps(tree, indent=2) + "\n")


def read_truth(folder: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The effects that `truth.json` has, by metric, population and arm; none without the file.

    Raises:
        InputError: the file isn't what :func:`write_truth` writes.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        effects = [TrueEffect(**row) for row in json.loads(path.read_text("utf-8"))["effects"]]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            explain(
                str(path),
                expected="the true effects of a simulated experiment",
                found=f"{type(error).__name__} {error}",
                mend="remove it, or simulate the experiment again",
            )
        ) from None
    return {(e.metric, e.population, e.arm): asdict(e) for e in effects}
