"""The analysis of an experiment's log: checks first, then estimates, where they may be looked at.

:func:`analyse` gives one report, which the screen, the page and `--json` show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtopics.errors import InputError, explain
from vidtopics.experiments.checks import Check
from vidtopics.experiments.declaration import (
    DAY_US,
    Experiment,
    Metric,
    Population,
    read_experiment,
)
from vidtopics.experiments.estimates import (
    Estimates,
    Floats,
    Sample,
    estimate_arms,
    join_small_strata,
)
from vidtopics.experiments.intervals import (
    Lift,
    LogRatio,
    adjust_by_holm,
    fixed_lift,
    log_ratio,
    sequential_lift,
)
from vidtopics.experiments.log import Log, read_log
from vidtopics.experiments.log_checks import check_log
from vidtopics.experiments.novelty import estimate_slope
from vidtopics.experiments.truth import read_truth
from vidtopics.times import moment

MIN_USERS = 50
"""Active users of an arm from which on a look of a sequential decision counts: its intervals are
asymptotic."""


@dataclass(frozen=True)
class Comparison:
    """A metric, the users that it is over, and the arm that is compared with control."""

    metric: str
    population: Population
    arm: str

    def __str__(self) -> str:
        return f"{self.metric} per {self.population} user, {self.arm}"


def analyse(folder: Path) -> dict[str, Any]:
    """The report on the experiment that lies in `folder`.

    Its `verdict` is `stopped` where a check says that the log isn't the declared experiment's, `too
    early` where a fixed horizon isn't reached; neither has estimates. Else it is `decided` or, of a
    sequential experiment that goes on, `running`.

    Raises:
        SettingsError: `experiment.yaml` can't be read.
        InputError: a file of the log can't be read, or a metric has no relative difference.
    """
    experiment = read_experiment(folder)
    log = read_log(experiment, folder)
    checks = check_log(experiment, log)
    days = observed_days(experiment, log)
    report: dict[str, Any] = {
        "name": experiment.name,
        "control": experiment.control,
        "start": experiment.start.isoformat(),
        "end": experiment.end.isoformat(),
        "days": experiment.days,
        "observed_days": days,
        "last_event": None if log.last_event_us is None else moment(log.last_event_us),
        "decision": experiment.decision.model_dump(),
        "arms": _arms(experiment, log),
        "rows": log.rows,
        "checks": [asdict(check) for check in checks],
        "verdict": _verdict(experiment, checks, days),
        "comparisons": [],
    }
    if report["verdict"] in {"decided", "running"}:
        report["comparisons"] = compare(experiment, log, days)
        report["adjustment"] = _adjustment(experiment, log)
        _add_truth(folder, report["comparisons"])
    return report


def _add_truth(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Put beside each estimate the true effect, where a simulated experiment has it."""
    effects = read_truth(folder)
    for row in rows:
        if effect := effects.get((row["metric"], row["population"], row["arm"])):
            row["truth"] = {name: effect[name] for name in ("relative", "low", "high")}


def observed_days(experiment: Experiment, log: Log) -> int:
    """Days of the experiment that the log covers: up to the day of its last event."""
    if log.last_event_us is None:
        return 0
    return (log.last_event_us - experiment.start_us) // DAY_US + 1


def _verdict(experiment: Experiment, checks: list[Check], days: int) -> str:
    if any(check.outcome == "stopped" for check in checks):
        return "stopped"
    if days == experiment.days:
        return "decided"
    return "running" if experiment.decision.kind == "sequential" and days else "too early"


def _arms(experiment: Experiment, log: Log) -> dict[str, dict[str, Any]]:
    size = len(experiment.arms)
    users = np.bincount(log.arm, minlength=size)
    active = np.bincount(log.arm[log.is_active(experiment.days)], minlength=size)
    return {
        name: {"share": share, "users": int(users[place]), "active": int(active[place])}
        for place, (name, share) in enumerate(
            zip(experiment.arms, experiment.expected_shares, strict=True)
        )
    }


def _adjustment(experiment: Experiment, log: Log) -> dict[str, Any]:
    strata = join_small_strata(log.stratum, log.arm, len(experiment.arms))
    return {
        "pre_days": experiment.pre_days if log.pre_daily else 0,
        "strata": int(strata.max()) + 1,
        "scale": "log(treatment / control), delta method",
    }


def compare(experiment: Experiment, log: Log, days: int) -> list[dict[str, Any]]:
    """All comparisons after `days` days, adjusted by Holm for each other.

    Raises:
        InputError: an arm has fewer than two users of a population, or a mean isn't above 0.
    """
    rows = [_compare(experiment, log, comparison, days) for comparison in comparisons(experiment)]
    alpha = experiment.decision.alpha
    for row, p in zip(rows, adjust_by_holm([row["p"] for row in rows]), strict=True):
        row["p_adjusted"] = p
        row["is_significant"] = p <= alpha
    return rows


def _compare(experiment: Experiment, log: Log, comparison: Comparison, days: int) -> dict[str, Any]:
    metric = experiment.metrics[comparison.metric]
    estimates = _estimate(experiment, log, metric, comparison.population, days)
    plain = _estimate(experiment, log, metric, comparison.population, days, adjusted=False)
    pair = _places(experiment, comparison)
    ratio = _log_ratio(estimates, pair, comparison)
    unadjusted = _log_ratio(plain, pair, comparison)
    looks = list(_looks(experiment, log, comparison, days))
    lift = _lift(experiment, ratio)
    control, treatment = (estimates.arms[place] for place in pair)
    p = min([lift.p, *(look["p"] for look in looks)]) if _is_sequential(experiment) else lift.p
    crossed = [look["day"] for look in looks if look["p"] <= experiment.decision.alpha]
    return {
        **asdict(comparison),
        "control": control.mean,
        "treatment": treatment.mean,
        "users": [control.users, treatment.users],
        **asdict(lift),
        "p": p,
        "unadjusted": asdict(_lift(experiment, unadjusted)),
        "variance_reduction": 1 - (ratio.error / unadjusted.error) ** 2 if unadjusted.error else 0,
        "looks": looks,
        "first_day_beyond": crossed[0] if _is_sequential(experiment) and crossed else None,
        "by_day": _by_day(experiment, log, comparison, days),
        "slope": _slope(experiment, log, comparison, days),
    }


def estimate_lift(
    experiment: Experiment, log: Log, comparison: Comparison, days: int, *, adjusted: bool = True
) -> Lift:
    """One comparison after `days` days, by the declared decision.

    Args:
        experiment: what is declared.
        log: what happened.
        comparison: metric, population and arm.
        days: days of the experiment that count.
        adjusted: by pre-period and strata.

    Raises:
        InputError: an arm has fewer than two users, or its mean isn't above 0.
    """
    metric = experiment.metrics[comparison.metric]
    estimates = _estimate(experiment, log, metric, comparison.population, days, adjusted=adjusted)
    return _lift(experiment, _log_ratio(estimates, _places(experiment, comparison), comparison))


def comparisons(experiment: Experiment) -> Iterator[Comparison]:
    """Every metric over each of its populations, of every arm but control."""
    for name, metric in experiment.metrics.items():
        for population in metric.populations:
            for arm in experiment.treatments:
                yield Comparison(name, population, arm)


def _is_sequential(experiment: Experiment) -> bool:
    return experiment.decision.kind == "sequential"


def _lift(experiment: Experiment, ratio: LogRatio) -> Lift:
    decision = experiment.decision
    if decision.expected_effect is None:
        return fixed_lift(ratio, decision.alpha)
    return sequential_lift(ratio, decision.alpha, decision.expected_effect)


def _places(experiment: Experiment, comparison: Comparison) -> tuple[int, int]:
    names = list(experiment.arms)
    return names.index(experiment.control), names.index(comparison.arm)


def _log_ratio(estimates: Estimates, pair: tuple[int, int], comparison: Comparison) -> LogRatio:
    control, treatment = (estimates.arms[place] for place in pair)
    return log_ratio(control, treatment, str(comparison))


def _estimate(
    experiment: Experiment,
    log: Log,
    metric: Metric,
    population: Population,
    days: int,
    *,
    adjusted: bool = True,
) -> Estimates:
    """Estimates of all arms over the first `days` days."""
    sample = metric_sample(log, metric, slice(0, days), adjusted=adjusted)
    if population == "active":
        sample = sample.select(log.is_active(days))
    arms = len(experiment.arms)
    counts = np.bincount(sample.arm, minlength=arms)
    if counts.min() < 2:
        name = list(experiment.arms)[int(counts.argmin())]
        raise InputError(
            explain(
                f"{experiment.name}, arm {name}",
                expected=f"at least two {population} users",
                found=str(counts.min()),
                mend="wait for more, or check the files assignment and exposure",
            )
        )
    strata = join_small_strata(sample.stratum, sample.arm, arms)
    if not adjusted:
        strata = np.zeros_like(strata)
    return estimate_arms(Sample(**(vars(sample) | {"stratum": strata})), arms)


def metric_sample(log: Log, metric: Metric, days: slice, *, adjusted: bool = True) -> Sample:
    """A metric's values of all users over some days, and over the pre-period where there is one."""

    def totals(daily: dict[str, Floats], window: slice) -> tuple[Floats, Floats]:
        numerator = daily[metric.value][:, window].sum(axis=1)
        if metric.per is None:
            return numerator, np.ones(len(numerator))
        return numerator, daily[metric.per][:, window].sum(axis=1)

    numerator, denominator = totals(log.daily, days)
    before = totals(log.pre_daily, slice(None)) if adjusted and log.pre_daily else (None, None)
    return Sample(numerator, denominator, log.arm, log.stratum, *before)


def _looks(
    experiment: Experiment, log: Log, comparison: Comparison, days: int
) -> Iterator[dict[str, Any]]:
    """The estimate at the end of each day, from the start up to it, of a sequential experiment."""
    if not _is_sequential(experiment):
        return
    metric = experiment.metrics[comparison.metric]
    for day in range(1, days + 1):
        users = log.daily[metric.value][:, :day].any(axis=1)
        counts = np.bincount(log.arm[users], minlength=len(experiment.arms))
        if counts.min() < MIN_USERS:
            continue
        yield {"day": day, **asdict(estimate_lift(experiment, log, comparison, day))}


def _by_day(
    experiment: Experiment, log: Log, comparison: Comparison, days: int
) -> list[dict[str, Any]]:
    """The lift of each day alone, unadjusted, with an interval for that day; days with data."""
    metric, pair = experiment.metrics[comparison.metric], _places(experiment, comparison)
    mask = _population(log, comparison.population, days)
    rows = []
    for day in range(days):
        sample = metric_sample(log, metric, slice(day, day + 1), adjusted=False).select(mask)
        sample = Sample(**(vars(sample) | {"stratum": np.zeros_like(sample.stratum)}))
        totals = np.bincount(sample.arm, sample.denominator, minlength=len(experiment.arms))
        sums = np.bincount(sample.arm, sample.numerator, minlength=len(experiment.arms))
        if min(*totals[list(pair)], *sums[list(pair)]) > 0:
            estimates = estimate_arms(sample, len(experiment.arms))
            ratio = _log_ratio(estimates, pair, comparison)
            rows.append({"day": day + 1, **asdict(fixed_lift(ratio, experiment.decision.alpha))})
    return rows


def _population(log: Log, population: Population, days: int) -> NDArray[np.bool_]:
    return log.is_active(days) if population == "active" else np.ones(len(log.arm), bool)


def _slope(
    experiment: Experiment, log: Log, comparison: Comparison, days: int
) -> dict[str, Any] | None:
    metric, (control, treatment) = (
        experiment.metrics[comparison.metric],
        _places(experiment, comparison),
    )
    mask = _population(log, comparison.population, days) & np.isin(log.arm, (control, treatment))
    numerator = log.daily[metric.value][mask, :days]
    denominator = (
        np.ones_like(numerator) if metric.per is None else log.daily[metric.per][mask, :days]
    )
    is_treated = (log.arm[mask] == treatment).astype(np.int64)
    slope = estimate_slope(numerator, denominator, is_treated, experiment.decision.alpha)
    return asdict(slope) if slope else None
