"""Arms that learn from one log bias an A/B test: pooled, split, weighted, double-sided.

Control shows the most popular videos; the treatment gives some slots to random ones. What the
treatment explores changes the counts that both arms rank by, if they count one log (Si 2023,
arXiv:2310.17496). `python -m benchmarks.interference` prints, for designs of the same experiment in
the same world, the estimate beside the true effect (everybody in one arm, then everybody in the
other):

* pooled: both arms rank by all clicks;
* split: each arm by the clicks of its own users;
* weighted: each arm by all clicks, a video's weighted by own over all exposures (Si 2023's
  weights, for counts);
* double-sided: arms have half of the videos each, too, and both their own clicks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.baselines import PopularPolicy, RandomPolicy
from vidtopics.simulation.items import start_of
from vidtopics.simulation.loop import Batch, run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import Responses, new_state
from vidtopics.simulation.world import World

Design = Literal["pooled", "split", "weighted", "double-sided"]
DESIGNS: tuple[Design, ...] = ("pooled", "split", "weighted", "double-sided")
EXPLORED = 4
"""Slots of the treatment's eight that random videos get."""
Floats = NDArray[np.float64]


class ArmPolicy(PopularPolicy):
    """The most popular videos by what a design counts; `explored` last slots are random."""

    def __init__(
        self, world: World, design: Design, explored: int, videos: NDArray[np.bool_]
    ) -> None:
        super().__init__(world)
        self._random = RandomPolicy(world)
        self._design, self._explored, self._videos = design, explored, videos
        self.own = Platform.new(world)

    def open_day(self, day: int, platform: Platform) -> None:
        """Rank the arm's live videos."""
        self.own.open_day(platform.midnight_us)
        scores = self._scores(platform)
        live = platform.live[self._videos[platform.live]]
        self._ranked = live[np.argsort(-scores[live], kind="stable")][:100]
        self._live = live

    def choose(
        self,
        day: int,
        refresh: int,
        users: NDArray[np.int64],
        now_us: NDArray[np.int64],
        platform: Platform,
        slates: NDArray[np.int32],
        propensities: NDArray[np.float32],
    ) -> None:
        """Fill slates; a random video that is in the slate already leaves the popular one."""
        super().choose(day, refresh, users, now_us, platform, slates, propensities)
        own = self.own
        own.live = self._live
        drawn = np.full_like(slates, -1)
        self._random.choose(day, refresh, users, now_us, own, drawn, propensities)
        for slot in range(slates.shape[1] - self._explored, slates.shape[1]):
            is_new = (slates != drawn[:, slot][:, None]).all(axis=1)
            slates[is_new, slot] = drawn[is_new, slot]
        propensities[:] = np.nan

    def record(self, batch: Batch, rows: NDArray[np.intp]) -> None:
        """Count the rows of the arm's users."""
        done = batch.responses
        part = Responses(
            done.shown_at[rows],
            done.clicked[rows],
            done.clicked_at[rows],
            done.watch_seconds[rows],
            done.again[rows],
        )
        columns = (batch.users[rows], batch.slates[rows], batch.propensities[rows], part)
        self.own.record(Batch(batch.day, batch.refresh, *columns))
        self.own.commit()

    def _scores(self, platform: Platform) -> Floats:
        if self._design == "pooled":
            return platform.known.decayed_clicks
        if self._design != "weighted":
            return self.own.known.decayed_clicks
        everything, own = platform.known, self.own.known
        exposures = np.maximum(everything.decayed_exposures, 1e-9)
        scores: Floats = everything.decayed_clicks * own.decayed_exposures / exposures
        return scores


def run_arms(
    world: World, arm_of: NDArray[np.int8], design: Design, days: int
) -> tuple[Floats, Floats]:
    """Watching seconds and clicks of each user over the second half of the days, float64[U]."""
    videos = np.ones((2, len(world.items.topic)), bool)
    if design == "double-sided":
        videos = np.arange(videos.shape[1]) % 2 == np.arange(2)[:, None]
    arms = [ArmPolicy(world, design, e, v) for e, v in zip((0, EXPLORED), videos, strict=True)]
    state, platform = new_state(world.users, start_of(world.settings)), Platform.new(world)
    seconds, clicks = np.zeros(len(arm_of)), np.zeros(len(arm_of))
    for batch in run_days(world, state, platform, arms, arm_of, range(days)):
        for arm, policy in enumerate(arms):
            policy.record(batch, np.flatnonzero(arm_of[batch.users] == arm))
        if batch.day >= days // 2:
            seconds[batch.users] += batch.responses.watch_seconds.sum(axis=1)
            clicks[batch.users] += batch.responses.clicked.sum(axis=1)
    return seconds, clicks


def compare_designs(
    world: World, runs: int, days: int, seed: int
) -> tuple[float, dict[Design, Floats]]:
    """The true effect on watching time, and float64[2 * runs] estimates of each design.

    Each assignment of users is taken both ways round.
    """
    users = world.settings.users
    everybody = [
        run_arms(world, np.full(users, arm, np.int8), "pooled", days)[0].sum() for arm in (0, 1)
    ]
    rng = np.random.default_rng(seed)
    assignments = [(rng.permutation(users) % 2).astype(np.int8) for _ in range(runs)]
    assigned = [arm_of for one in assignments for arm_of in (one, (1 - one).astype(np.int8))]
    estimates = {
        design: np.array([_estimate(world, arm_of, design, days) for arm_of in assigned])
        for design in DESIGNS
    }
    return everybody[1] / everybody[0] - 1, estimates


def _estimate(world: World, arm_of: NDArray[np.int8], design: Design, days: int) -> float:
    seconds, _ = run_arms(world, arm_of, design, days)
    return float(seconds[arm_of == 1].mean() / seconds[arm_of == 0].mean() - 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--runs", type=int, default=6, help="assignments, each both ways round")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    settings = SimulationSettings(users=options.users, days=options.days)
    world = World.build(settings, options.seed)
    truth, estimates = compare_designs(world, options.runs, options.days, options.seed)
    sys.stdout.write(
        f"{options.users:,} users, {options.days} days, {2 * options.runs} assignments; effect of"
        f" {EXPLORED} random slots of 8 on watching time: {truth:+.1%}\n"
        "design          estimate  bias (95% interval over assignments)\n"
    )
    for design, values in estimates.items():
        width = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        bias = values.mean() - truth
        sys.stdout.write(
            f"{design:14} {values.mean():+9.1%}  {bias:+.1%}"
            f" ({bias - width:+.1%} to {bias + width:+.1%})\n"
        )


if __name__ == "__main__":
    main()
