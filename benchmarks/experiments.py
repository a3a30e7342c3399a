"""Are the intervals of `vidtopics evaluate ab` right? Synthetic experiments whose truth is known.

`python -m benchmarks.experiments` prints, for the paper's metrics:

* A/A experiments: the share rejected at 5%, and the Kolmogorov-Smirnov p of the p-values;
* experiments with an effect: coverage of the 95% intervals, and the share found beside the power
  that `vidtopics power` predicts from an independent pre-period;
* A/A experiments looked at every day: the share that a fixed-horizon interval and an always-valid
  one call an effect on any day.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.experiment_worlds import draw_users, make_log
from vidtopics.experiments.analysis import Comparison, comparisons, estimate_lift
from vidtopics.experiments.declaration import Experiment
from vidtopics.experiments.power import Design, estimate_baseline, predict_power

SHIFTED = ("UVD", "UAVD", "AVD")
"""Metrics that the worlds' treatment changes, all by its relative effect."""


@dataclass(frozen=True)
class Calibration:
    """Outcomes of many experiments.

    * `p`: float64[R, C] p-values by run and comparison; `covered`: bool[R, C], the interval holds
      the true effect.
    """

    comparisons: list[Comparison]
    p: NDArray[np.float64]
    covered: NDArray[np.bool_]


def declare(days: int = 7, **changes: object) -> Experiment:
    """An experiment of two equal arms."""
    tree = {
        "name": "synthetic",
        "arms": {"control": {"share": 0.5}, "topics": {"share": 0.5}},
        "control": "control",
        "start": "2026-12-01T00:00:00Z",
        "end": f"2026-12-{1 + days:02d}T00:00:00Z",
    }
    return Experiment.model_validate(tree | changes)


def calibrate(
    experiment: Experiment, *, runs: int, users: int, effect: float, seed: int
) -> Calibration:
    """Analyse `runs` experiments of `users` users at their end."""
    compared = list(comparisons(experiment))
    p, covered = np.empty((runs, len(compared))), np.empty((runs, len(compared)), bool)
    for run, rng in enumerate(np.random.default_rng(seed).spawn(runs)):
        log = make_log(experiment, rng, users, effect=effect)
        for place, comparison in enumerate(compared):
            lift = estimate_lift(experiment, log, comparison, experiment.days)
            truth = effect if comparison.metric in SHIFTED else 0.0
            p[run, place] = lift.p
            covered[run, place] = lift.low <= truth <= lift.high
    return Calibration(compared, p, covered)


def predict(
    experiment: Experiment, *, users: int, effect: float, seed: int, log_users: int = 20_000
) -> dict[tuple[str, str], float]:
    """Predicted power by metric and population, from the pre-period of other users."""
    drawn = draw_users(np.random.default_rng(seed), log_users, experiment.pre_days)
    is_active = drawn.views.any(axis=1)
    control, treatment = experiment.expected_shares
    design = Design(control, treatment, experiment.decision.alpha)
    powers: dict[tuple[str, str], float] = {}
    for comparison in comparisons(experiment):
        metric, name = experiment.metrics[comparison.metric], comparison.metric
        mask = is_active if comparison.population == "active" else np.ones(log_users, bool)
        numerator = getattr(drawn, metric.value)[mask]
        per = np.ones_like(numerator) if metric.per is None else getattr(drawn, metric.per)[mask]
        variance = estimate_baseline(numerator, per, name).variance(
            experiment.days, experiment.pre_days
        )
        powers[name, comparison.population] = predict_power(
            design, variance, users * mask.mean(), effect
        )
    return powers


def peek(*, runs: int, users: int, days: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """float64[R, days] p-values of UVD at the end of each day of A/A experiments, by decision."""
    sequential = {"kind": "sequential", "expected_effect": 0.05}
    decisions = {"fixed": declare(days), "sequential": declare(days, decision=sequential)}
    comparison = Comparison("UVD", "assigned", "topics")
    p = {name: np.empty((runs, days)) for name in decisions}
    for run, rng in enumerate(np.random.default_rng(seed).spawn(runs)):
        log = make_log(decisions["fixed"], rng, users)
        for name, experiment in decisions.items():
            for day in range(days):
                p[name][run, day] = estimate_lift(experiment, log, comparison, day + 1).p
    return p


def within(share: float, runs: int, expected: float, level: float = 0.999) -> bool:
    """Is a share of runs within the binomial bounds of what is expected?

    >>> within(0.055, 1000, 0.05), within(0.09, 1000, 0.05)
    (True, False)
    """
    low, high = stats.binom.interval(level, runs, expected)
    return bool(low <= round(share * runs) <= high)


def _print_calibration(runs: int, users: int, effect: float, effect_runs: int, seed: int) -> None:
    experiment = declare()
    none = calibrate(experiment, runs=runs, users=users, effect=0.0, seed=seed)
    some = calibrate(experiment, runs=effect_runs, users=users, effect=effect, seed=seed + 1)
    powers = predict(experiment, users=users, effect=effect, seed=seed + 2)
    _say(f"{runs} A/A experiments and {effect_runs} with {effect:+.0%}, {users} users, 7 + 7 days")
    _say("metric                rejected at 5%  KS p   coverage of 95%  found  predicted")
    for place, comparison in enumerate(none.comparisons):
        rejected = float((none.p[:, place] <= 0.05).mean())
        uniform = stats.kstest(none.p[:, place], "uniform").pvalue
        shown = f"{comparison.metric} per {comparison.population} user"
        predicted = powers[comparison.metric, comparison.population]
        detected = (some.p[:, place] <= 0.05).mean()
        power = f"{detected:6.1%}  {predicted:6.1%}" if comparison.metric in SHIFTED else ""
        _say(
            f"{shown:22}{rejected:13.1%}  {uniform:5.2f}  {some.covered[:, place].mean():15.1%}"
            f"  {power}"
        )


def _print_peeking(runs: int, users: int, days: int, seed: int) -> None:
    looks = peek(runs=runs, users=users, days=days, seed=seed + 3)
    _say(f"{runs} A/A experiments looked at on each of {days} days, {users} users, UVD")
    for name, p in looks.items():
        _say(f"{name:12}{(p.min(axis=1) <= 0.05).mean():6.1%} called an effect on some day")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="A/A experiments")
    parser.add_argument("--effect-runs", type=int, default=500, help="experiments with an effect")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--effect", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    _print_calibration(
        options.runs, options.users, options.effect, options.effect_runs, options.seed
    )
    _print_peeking(options.runs, options.users, 14, options.seed)


if __name__ == "__main__":
    main()
