"""The checks of an experiment's log, in the order in which an analyst would ask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vidtopics.experiments.bucketing import bucket
from vidtopics.experiments.checks import (
    THRESHOLD,
    Check,
    Outcome,
    check_independence,
    check_sample_ratio,
)
from vidtopics.experiments.declaration import Experiment
from vidtopics.experiments.estimates import Codes, Sample, estimate_arms
from vidtopics.experiments.intervals import adjust_by_holm, fixed_lift, log_ratio
from vidtopics.experiments.log import Log

MAX_SHARE = 0.01
"""Share of users that may be in two arms, or in another arm than the hash says (overrides of
employees, say), before that stops the verdict."""


def check_log(experiment: Experiment, log: Log) -> list[Check]:
    """All checks, each with its outcome."""
    return [
        _sample_ratio(experiment, log),
        _active_ratio(experiment, log),
        _two_arms(log),
        *_salt(experiment, log),
        _missing_exposures(experiment, log),
        *_concurrent(experiment, log),
        _early_exposures(log),
        _pre_period(experiment, log),
    ]


def _counts(experiment: Experiment, arm: Codes) -> dict[str, int]:
    counts = np.bincount(arm, minlength=len(experiment.arms))
    return dict(zip(experiment.arms, map(int, counts), strict=True))


def _sample_ratio(experiment: Experiment, log: Log) -> Check:
    return check_sample_ratio(_counts(experiment, log.arm), experiment.expected_shares)


def _active_ratio(experiment: Experiment, log: Log) -> Check:
    """A treatment may bring users back, so that unequal activity alone is no defect."""
    counts = _counts(experiment, log.arm[log.is_active(experiment.days)])
    check = check_sample_ratio(
        counts, experiment.expected_shares, name="ratio of active users", failure="warning"
    )
    if check.outcome == "warning":
        detail = f"{check.detail}: figures per active user compare different users"
        return Check(check.name, check.outcome, detail, check.p)
    return check


def _two_arms(log: Log) -> Check:
    users = log.in_two_arms
    total = len(log.user_ids) + len(users)
    if not users:
        return Check("one arm a user", "passed", f"{total:,} users")
    detail = f"left out: {_examples(users)} of {total:,} users are in two arms"
    return Check("one arm a user", _tolerated(len(users), total), detail)


def _salt(experiment: Experiment, log: Log) -> Iterator[Check]:
    """Do assignments follow the declared hash, and are users missing by arm?"""
    if experiment.salt is None:
        detail = "experiment.yaml declares no salt"
        yield Check("assignment by hash", "not checked", detail)
        return
    hashed = _hashed_arms(experiment, log.user_ids)
    differs = hashed != log.arm
    total = len(log.user_ids)
    if differs.any():
        users = [log.user_ids[place] for place in np.flatnonzero(differs)]
        detail = f"{_examples(users)} of {total:,} users are in another arm than the salt says"
        yield Check("assignment by hash", _tolerated(len(users), total), detail)
    else:
        yield Check("assignment by hash", "passed", f"{total:,} users follow the salt")
    name, lost = "users without an assignment", _hashed_arms(experiment, log.unassigned)
    if not (lost >= 0).any():
        yield Check(name, "passed", "none of these arms' users has events and no assignment")
        return
    counts = _counts(experiment, lost[lost >= 0])
    check = check_sample_ratio(counts, experiment.expected_shares, name=name)
    if check.outcome == "stopped":
        shown = ", ".join(f"{arm} {count:,}" for arm, count in counts.items())
        detail = (
            f"{sum(counts.values()):,} users with events, by their hash {shown}"
            f" (p = {check.p:.2g}): the file of assignments lost rows of one arm"
        )
        yield Check(check.name, check.outcome, detail, check.p)
    else:
        yield check


def _hashed_arms(experiment: Experiment, user_ids: list[str]) -> Codes:
    """int64[N] place of the arm that the salt gives each user; -1: none."""
    places = np.full(experiment.buckets, -1)
    for place, numbers in enumerate(experiment.arm_buckets.values()):
        places[list(numbers)] = place
    salt = experiment.salt or ""
    buckets = (bucket(user, salt, experiment.buckets) for user in user_ids)
    return places[np.fromiter(buckets, np.int64, len(user_ids))].astype(np.int64)


def _tolerated(users: int, total: int) -> Outcome:
    return "warning" if users <= MAX_SHARE * total else "stopped"


def _missing_exposures(experiment: Experiment, log: Log) -> Check:
    """An outcome needs an exposure; where they lack more in one arm, its log lost rows."""
    name = "outcomes have exposures"
    if log.first_exposure is None:
        return Check(name, "not checked", "no exposure file: active users are those with outcomes")
    users, exposed = (days < experiment.days for days in (log.first_outcome, log.first_exposure))
    counts = np.zeros((len(experiment.arms), 2), np.int64)
    np.add.at(counts, (log.arm[users], exposed[users].astype(int)), 1)
    lost = ", ".join(
        f"{arm} {int(n):,} of {int(n + m):,}"
        for arm, (n, m) in zip(experiment.arms, counts, strict=True)
    )
    if not counts[:, 0].sum():
        return Check(name, "passed", f"all {int(users.sum()):,} users with an outcome")
    return check_independence(name, counts, f"users with outcomes and no exposure: {lost}")


def _concurrent(experiment: Experiment, log: Log) -> Iterator[Check]:
    """Are the arms of another test independent of these? They aren't where a salt is shared."""
    for name, (other, arms) in log.concurrent.items():
        counts = np.zeros((len(experiment.arms), len(arms)), np.int64)
        both = other >= 0
        np.add.at(counts, (log.arm[both], other[both]), 1)
        detail = f"{int(both.sum()):,} users in both"
        check = check_independence(f"independent of {name}", counts, detail)
        if check.outcome == "stopped":
            detail = f"{detail} have arms that depend on each other, as with a shared salt"
            detail = f"{detail}; p = {check.p:.2g}"
            yield Check(check.name, check.outcome, detail, check.p)
        else:
            yield check


def _early_exposures(log: Log) -> Check:
    name = "no exposure before the start"
    if "exposure" not in log.rows:
        return Check(name, "not checked", "no exposure file")
    count = log.rows["exposure"].get("before the experiment", 0)
    if not count:
        return Check(name, "passed", "none")
    return Check(name, "warning", f"{count:,} exposures: treatment may lie in the pre-period")


def _pre_period(experiment: Experiment, log: Log) -> Check:
    """Do the arms differ before the start? A treatment that leaked there makes them.

    CUPED would take such an effect out of the estimate, so that a difference stops the verdict.
    """
    name = "no difference in the pre-period"
    if not log.pre_daily:
        return Check(name, "not checked", "no pre-period outcomes: no CUPED either")
    control = list(experiment.arms).index(experiment.control)
    labels, p_values, shown = [], [], []
    # UVD and UAVD read the same column: one comparison
    metrics = {(m.value, m.per): (label, m) for label, m in reversed(experiment.metrics.items())}
    for label, metric in reversed(metrics.values()):
        numerator = log.pre_daily[metric.value].sum(axis=1)
        denominator = (
            np.ones_like(numerator) if metric.per is None else log.pre_daily[metric.per].sum(axis=1)
        )
        sample = Sample(numerator, denominator, log.arm, np.zeros_like(log.arm))
        sums = np.bincount(log.arm, numerator, minlength=len(experiment.arms))
        if np.bincount(log.arm).min() < 2 or sums.min() <= 0:
            continue
        arms = estimate_arms(sample, len(experiment.arms)).arms
        for arm in experiment.treatments:
            treatment = arms[list(experiment.arms).index(arm)]
            lift = fixed_lift(log_ratio(arms[control], treatment, label), 0.05)
            labels.append(f"{label}, {arm}")
            shown.append(f"{lift.relative:+.2%}")
            p_values.append(lift.p)
    if not p_values:
        return Check(name, "not checked", "no metric has values in the pre-period of every arm")
    adjusted = adjust_by_holm(p_values)
    worst = int(np.argmin(adjusted))
    detail = f"largest: {labels[worst]} {shown[worst]}; Holm-adjusted p = {adjusted[worst]:.2g}"
    outcome: Outcome = "stopped" if adjusted[worst] < THRESHOLD else "passed"
    return Check(name, outcome, detail, adjusted[worst])


def _examples(users: list[str]) -> str:
    names = ", ".join(users[:3])
    return f"{len(users):,} ({names}{', ...' if len(users) > 3 else ''})"
