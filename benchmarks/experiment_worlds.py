"""Synthetic experiments whose true effect is known, as logs in memory or as an owner's files.

A user has an activity, a level of watching and a taste for refreshing, all lasting; a day has its
own noise. A treatment multiplies watching time, so that UVD, UAVD and AVD have exactly its relative
effect and ART has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from vidtopics.experiments.bucketing import bucket
from vidtopics.experiments.declaration import DAY_US, Experiment
from vidtopics.experiments.log import Log

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """float64[N, P + D] watching seconds, views and refreshes of N users by day."""

    watch_seconds: Floats
    views: Floats
    refreshes: Floats


def draw_users(rng: np.random.Generator, users: int, days: int) -> Drawn:
    """What users would do in control, with lasting differences between them."""
    activity = rng.beta(1.2, 1.66, (users, 1))
    level = rng.normal(0, 0.8, (users, 1))
    active = rng.random((users, days)) < activity
    refreshes = np.where(active, 1 + rng.poisson(np.exp(0.3 + 0.5 * level), (users, days)), 0)
    views = np.where(active, 1 + rng.poisson(3 * refreshes), 0)
    seconds = 20 * np.exp(0.4 * level + rng.normal(0, 0.5, (users, days)))
    return Drawn(views * seconds, views.astype(float), refreshes.astype(float))


def make_log(
    experiment: Experiment,
    rng: np.random.Generator,
    users: int,
    *,
    effect: float = 0.0,
    leak: float = 0.0,
    novelty: float = 0.0,
) -> Log:
    """A log of `users` users with an exposure on each active day.

    Args:
        experiment: what is declared; arms are drawn by its shares.
        rng: the draws.
        users: number of users.
        effect: relative effect on watching time in all arms but control.
        leak: the same in the pre-period, where there should be none.
        novelty: what the effect loses on each day, at most down to 0.
    """
    before, days = experiment.pre_days, experiment.days
    drawn = draw_users(rng, users, before + days)
    arm = rng.choice(len(experiment.arms), users, p=experiment.expected_shares)
    is_treated = arm != list(experiment.arms).index(experiment.control)
    lift = np.maximum(0, effect - novelty * np.arange(days)) if novelty else np.full(days, effect)
    factor = 1 + is_treated[:, None] * np.concatenate([np.full(before, leak), lift])
    totals = {
        "watch_seconds": drawn.watch_seconds * factor,
        "views": drawn.views,
        "refreshes": drawn.refreshes,
    }
    active = drawn.views[:, before:] > 0
    first = np.where(active.any(axis=1), active.argmax(axis=1), days).astype(np.int64)
    return Log(
        user_ids=[f"u{number}" for number in range(users)],
        arm=arm.astype(np.int64),
        stratum=(drawn.views[:, :before].sum(axis=1) > 0).astype(np.int64),
        strata=["not seen before", "seen before"],
        daily={name: values[:, before:] for name, values in totals.items()},
        pre_daily={name: values[:, :before] for name, values in totals.items()} if before else {},
        first_outcome=first,
        first_exposure=first,
        rows={"exposure": {"counted": int(active.sum())}},
        last_event_us=experiment.start_us + days * DAY_US - 1,
        in_two_arms=[],
        unassigned=[],
        concurrent={},
    )


def write_log(
    folder: Path,
    experiment: Experiment,
    rng: np.random.Generator,
    users: int,
    *,
    effect: float = 0.0,
    leak: float = 0.0,
) -> None:
    """Write assignment (CSV), exposure (Parquet), outcomes and pre_outcomes (CSV) under our names.

    Users have the arm of their hash; one outcome row and one exposure a user's active day.
    """
    before, days = experiment.pre_days, experiment.days
    drawn = draw_users(rng, users, before + days)
    user_ids = np.array([f"u{number:06d}" for number in range(users)])
    arms = np.full(experiment.buckets, "", object)
    for name, numbers in experiment.arm_buckets.items():
        arms[list(numbers)] = name
    hashed = [bucket(user, str(experiment.salt), experiment.buckets) for user in user_ids]
    arm = arms[hashed]
    is_in = arm != ""
    is_treated = is_in & (arm != experiment.control)
    factor = 1 + is_treated[:, None] * np.concatenate(
        [np.full(before, leak), np.full(days, effect)]
    )
    watch = np.round(drawn.watch_seconds * factor, 3)
    user, day = np.nonzero(drawn.views > 0)
    since = experiment.start - timedelta(days=before)
    times = np.datetime64(since.replace(tzinfo=None), "s") + day * 86_400
    times = times + rng.integers(0, 86_400, len(day))
    rows = pa.table(
        {
            "user_id": user_ids[user],
            "time": pa.array(times, pa.timestamp("s")),
            "watch_seconds": watch[user, day],
            "views": drawn.views[user, day],
            "refreshes": drawn.refreshes[user, day],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    assignment = pa.table({"user_id": user_ids[is_in], "arm": arm[is_in].astype(str)})
    pa.csv.write_csv(assignment, folder / "assignment.csv")
    inside = day >= before
    pa.csv.write_csv(rows.filter(pa.array(inside)), folder / "outcomes.csv")
    pa.csv.write_csv(rows.filter(pa.array(~inside)), folder / "pre_outcomes.csv")
    exposure = rows.filter(pa.array(inside)).select(["user_id", "time"])
    pa.parquet.write_table(exposure, folder / "exposure.parquet")
