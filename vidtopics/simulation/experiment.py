"""An A/B experiment in a simulated world, as the paper's Table III has one (section IV-E).

1. The world's log: all users, under the policy of the log (so that a platform has a history).
2. A pre-period under control. Users are in groups by a hash of their id; the groups that are most
   alike in it become the arms, before anything else is known.
3. The experiment: arms under their policies, everybody else under control, one platform for all.
4. The truth: everybody under each arm, from the state at the pre-period's end.

All draws are keyed by user, video, day and refresh: an arm differs from control by its policy
alone. What comes out is a folder as `vidtopics evaluate ab` reads it (docs/experiments.md), with
the true effects beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from vidtopics.errors import InputError, SettingsError, explain
from vidtopics.experiments.bucketing import bucket
from vidtopics.experiments.declaration import FILE, TABLE_3
from vidtopics.experiments.groups import choose_groups, rank_group_pairs
from vidtopics.experiments.truth import true_effects, write_truth
from vidtopics.failpoints import failpoint
from vidtopics.files import write_whole
from vidtopics.simulation.experiment_days import Days, Step, open_days
from vidtopics.simulation.experiment_log import DayLog, Totals, join_days
from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.policy import Policy
from vidtopics.simulation.responses import State, new_state
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.simulation.world import World

LOG, PRE, ARMS = "log", "pre", "arms"
TRUTH = "truth-"
"""Before the name of the arm that everybody is in."""
BLOCK = 8_192
"""Users that are served at once."""
MIN_USERS = 10
"""Of a group: with fewer, likeness is chance."""
Progress = Callable[[Step, int, int], None]
"""Called after each day with the step, its number of requests, and the number of steps in all."""


@dataclass(frozen=True)
class Plan:
    """What is to be run: `arms` names policies, the first is control."""

    arms: tuple[str, ...]
    salt: str
    pre_days: int = 7
    days: int = 7
    groups: int = 8

    def __post_init__(self) -> None:
        if len(set(self.arms)) < len(self.arms) or not 2 <= len(self.arms) <= self.groups:
            raise SettingsError(
                explain(
                    "arms",
                    expected=f"two or more different ones, at most {self.groups} groups",
                    found=", ".join(self.arms),
                    mend="name control first, then what is compared with it",
                )
            )

    @property
    def later_days(self) -> int:
        """Days after the world's log."""
        return self.pre_days + self.days


def run_experiment(
    world: World,
    policies: Mapping[str, Policy],
    plan: Plan,
    out: Path,
    *,
    platform: Platform | None = None,
    origin: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> None:
    """Run an experiment and write it to the folder `out`.

    A finished day is a checkpoint: a run that was killed goes on with `resume` and writes the same
    bytes.

    Args:
        world: built with `plan.later_days` later days.
        policies: by name, all of `plan.arms`.
        plan: what is to be run.
        out: a new or empty folder, or one to be resumed.
        platform: before the world's first day; by default with the default settings.
        origin: what else the result depends on, as the home of the policies: resumed only with the
            same.
        resume: go on after the last finished day.
        progress: called after each day.

    Raises:
        InputError, SettingsError, BusyError: as :func:`open_days`.
        InputError: too few users for the groups or the metrics.
    """
    described = {
        **asdict(plan),
        "arms": list(plan.arms),
        "seed": world.seed,
        "simulation": world.settings.model_dump(mode="json"),
        "origin": dict(origin or {}),
    }
    with open_days(out, described, resume=resume) as days:
        if not (out / FILE).exists():
            run = _Run(world, policies, plan, days, platform or Platform.new(world))
            run.run_steps(progress or (lambda *_: None))
            _write_folder(run, out)
            failpoint("experiment.whole")
        days.remove()


class _Run:
    """Steps, groups and arms of one experiment; everything follows from the days' folders."""

    def __init__(
        self,
        world: World,
        policies: Mapping[str, Policy],
        plan: Plan,
        days: Days,
        platform: Platform,
    ) -> None:
        self.world, self.plan, self.days = world, plan, days
        self._policies, self._platform = policies, platform
        self.users = world.settings.users
        self.steps = list(_steps(plan, world.settings.days))
        self.ids = numbered("u", np.arange(self.users), self.users).to_pylist()
        self.group = np.array([bucket(user, plan.salt, plan.groups) for user in self.ids])
        sizes = np.bincount(self.group, minlength=plan.groups)
        if sizes.min() < MIN_USERS:
            raise InputError(
                explain(
                    "simulation.users",
                    expected=f"at least {MIN_USERS} users in each of {plan.groups} groups",
                    found=f"{sizes.min()} of {self.users:,} in one",
                    mend="raise users, or form fewer groups",
                )
            )

    @property
    def start_us(self) -> int:
        """When arms begin to differ."""
        log = start_of(self.world.settings) + self.world.settings.days * DAY
        return log + self.plan.pre_days * DAY

    @property
    def end_us(self) -> int:
        """The end of the experiment."""
        return self.start_us + self.plan.days * DAY

    def of_phase(self, phase: str) -> list[Step]:
        """The steps of a phase, in order."""
        return [step for step in self.steps if step.phase == phase]

    def totals(self, phase: str) -> Totals:
        """Users' totals over a finished phase."""
        return Totals.load((self.days[step] for step in self.of_phase(phase)), self.users)

    def run_steps(self, progress: Progress) -> None:
        """Run every day that isn't finished."""
        state: State | None = None
        platform, at = self._platform, None
        for place, step in enumerate(self.steps):
            if not self.days.is_done(step):
                if state is None or at != step.before:
                    state, platform = self._begin(step)
                requests = self._run_day(step, state, platform)
                progress(step, requests, len(self.steps))
                at = step
            needed = {later.before for later in self.steps[place + 1 :] if later.before}
            self.days.drop_states(self.steps[: place + 1], needed)

    def _begin(self, step: Step) -> tuple[State, Platform]:
        if step.before is None:
            start = start_of(self.world.settings)
            return new_state(self.world.users, start), self._platform.copy()
        return self.days.load_state(step.before)

    def _run_day(self, step: Step, state: State, platform: Platform) -> int:
        """Run one day and write its folder; its number of requests."""
        arms, arm_of = self._arms(step.phase)
        days = range(step.day, step.day + 1)
        end_us = self.start_us if step.phase == PRE else self.end_us
        totals, requests = Totals.empty(self.users), 0
        with self.days.writing(step, state, platform) as folder:
            log = DayLog(folder, self._is_logged(step.phase))
            for batch in run_days(self.world, state, platform, arms, arm_of, days, block=BLOCK):
                totals.add(batch, end_us)
                log.add(batch)
                requests += len(batch.users)
            log.close()
            totals.save(folder)
        return requests

    def _arms(self, phase: str) -> tuple[list[Policy], NDArray[np.int8]]:
        """Policies of a phase, and the place of each user's among them."""
        everybody = np.zeros(self.users, np.int8)
        if phase == LOG:
            return [LoggedPolicy(self.world)], everybody
        if phase == ARMS:
            names = self.plan.arms
            for place, number in enumerate(self.chosen):
                everybody[self.group == number] = place
            return [self._policies[name] for name in names], everybody
        name = self.plan.arms[0] if phase == PRE else phase.removeprefix(TRUTH)
        return [self._policies[name]], everybody

    def _is_logged(self, phase: str) -> NDArray[np.bool_]:
        """Whose rows the day's log has: all in the pre-period, then those that are in an arm."""
        if phase == ARMS:
            return np.isin(self.group, self.chosen)
        return np.full(self.users, phase == PRE)

    @cached_property
    def chosen(self) -> list[int]:
        """The group of each arm: the most alike over the pre-period, in ascending order."""
        totals = self.totals(PRE)
        exposed = totals.exposed.astype(float)
        metrics = [
            (
                np.asarray(getattr(totals, metric.value), float),
                exposed
                if population == "active"
                else np.asarray(getattr(totals, metric.per), float)
                if metric.per
                else np.ones(self.users),
            )
            for metric in TABLE_3.values()
            for population in metric.populations
        ]
        pairs = rank_group_pairs(metrics, self.group, self.plan.groups)
        return choose_groups(pairs, len(self.plan.arms))


def _steps(plan: Plan, log_days: int) -> Iterator[Step]:
    """All days to run, in order; those of the truth begin where the pre-period ends."""
    before: Step | None = None
    number = 0

    def phase(name: str, first: int, count: int) -> Iterator[Step]:
        nonlocal before, number
        for day in range(first, first + count):
            before = Step(number, name, day, before)
            number += 1
            yield before

    yield from phase(LOG, 0, log_days)
    yield from phase(PRE, log_days, plan.pre_days)
    split = before
    for name in (ARMS, *(f"{TRUTH}{arm}" for arm in plan.arms)):
        before = split
        yield from phase(name, log_days + plan.pre_days, plan.days)


def _write_folder(run: _Run, out: Path) -> None:
    """Write the experiment's files; `experiment.yaml` last, which says that it is whole."""
    files = ((PRE, "outcomes", "pre_outcomes"), (ARMS, "outcomes", "outcomes"))
    for phase, name, target in (*files, (ARMS, "exposure", "exposure")):
        parts = [run.days[step] / f"{name}.parquet" for step in run.of_phase(phase)]
        join_days(parts, out / f"{target}.parquet")
    arm_of_group = dict(zip(run.chosen, run.plan.arms, strict=True))
    arms = [arm_of_group.get(int(group), "") for group in run.group]
    is_in = pa.array([bool(arm) for arm in arms])
    assignment = pa.table({"user_id": run.ids, "arm": arms}).filter(is_in)
    pq.write_table(assignment, out / "assignment.parquet")
    control, *others = (run.totals(f"{TRUTH}{arm}")._asdict() for arm in run.plan.arms)
    effects = true_effects(TABLE_3, control, dict(zip(run.plan.arms[1:], others, strict=True)))
    write_truth(out, effects, run.users)
    write_whole(out / FILE, _declare(run, arm_of_group))


def _declare(run: _Run, arm_of_group: Mapping[int, str]) -> str:
    """`experiment.yaml`."""
    plan = run.plan
    groups: Sequence[tuple[int, str]] = sorted(
        arm_of_group.items(), key=lambda pair: plan.arms.index(pair[1])
    )
    tree = {
        "name": f"simulated world, seed {run.world.seed}",
        "salt": plan.salt,
        "buckets": plan.groups,
        "arms": {arm: {"buckets": [group]} for group, arm in groups},
        "control": plan.arms[0],
        "start": _iso(run.start_us),
        "end": _iso(run.end_us),
        "pre_days": plan.pre_days,
    }
    return yaml.safe_dump(tree, sort_keys=False)


def _iso(us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()
