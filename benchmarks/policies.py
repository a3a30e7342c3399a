"""How fast policies serve: recall in users a second, ranking in candidates a second.

`python -m benchmarks.policies HOME` takes a home of the simulated world (`vidtopics demo`), plays
its log, and serves the users of a round in blocks: recall alone, frames and encoding, the model on
encoded rows (`predict` of ready examples, a thread each), all of it. Each figure is the best of
three; `--days N` also plays N days under every policy and prints click rates.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consumers.policies.frames import Candidates, FrameMaker
from consumers.policies.home import CANDIDATES, CATALOGS, POLICIES, RANKERS, Home, load_policies
from consumers.policies.ranked import ManyRanker, RankedPolicy, in_parts
from consumers.policies.recall import ManyRecall
from consumers.ranking.inputs import encode
from consumers.ranking.train import predict
from vidtopics.settings import load
from vidtopics.simulation import World
from vidtopics.simulation.baselines import BASELINES
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.policy import Policy
from vidtopics.simulation.responses import State, new_state
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.tables import Tables

TRIALS = 3
USERS = 4_096
LATER_DAYS = 14


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--days", type=int, default=0)
    chosen = parser.parse_args(arguments)
    settings = load(chosen.home / "settings.yaml")
    world = World.build(settings.simulation, settings.seed, later_days=LATER_DAYS)
    platform, state = (
        Platform.new(world, settings),
        new_state(world.users, start_of(world.settings)),
    )
    _play(world, state, platform, LoggedPolicy(world), range(settings.simulation.days))
    home = Home(Tables(chosen.home), settings, world)
    say(f"| users of a block {USERS:,}, {CANDIDATES} candidates each | without topics | topics |")
    say("|---|---|---|")
    columns = [_speeds(home, platform, name) for name in ("none", "topics")]
    for row in columns[0]:
        say(f"| {row} | {' | '.join(f'{column[row]:,.0f}' for column in columns)} |")
    if chosen.days:
        print_rates(chosen.home, world, platform, state, chosen.days)


def print_rates(home: Path, world: World, platform: Platform, state: State, days: int) -> None:
    """Click rate and clicks of each policy, from the same state on."""
    names = [*BASELINES, *POLICIES]
    first = world.settings.days
    say("\n| policy | click rate | clicks | requests | seconds |\n|---|---|---|---|---|")
    for name in names:
        policy = load_policies(home, world, [name])[name]
        began, copied = time.perf_counter(), State._make(part.copy() for part in state)
        played = range(first, first + days)
        clicks, shown, requests = _play(world, copied, platform.copy(), policy, played)
        seconds = time.perf_counter() - began
        say(f"| {name} | {clicks / shown:.4f} | {clicks:,} | {requests:,} | {seconds:.0f} |")


def _play(
    world: World, state: State, platform: Platform, policy: Policy, days: range
) -> tuple[int, int, int]:
    """Clicks, impressions and requests."""
    arm_of = np.zeros(len(world.users.bias), np.int8)
    clicks, shown, requests = 0, 0, 0
    for batch in run_days(world, state, platform, [policy], arm_of, days):
        clicks += int(batch.responses.clicked.sum())
        shown, requests = shown + batch.slates.size, requests + len(batch.users)
    return clicks, shown, requests


def _speeds(home: Home, platform: Platform, kind: str) -> dict[str, float]:
    """Rates by what is measured."""
    recall, ranker = home.recall(CATALOGS[kind](home)), RANKERS[kind](home)
    policy = RankedPolicy(kind, home.world.seed, recall, ranker)
    midnight = start_of(home.world.settings) + home.world.settings.days * DAY
    platform = platform.copy()
    platform.open_day(midnight)
    policy.open_day(home.world.settings.days, platform)
    users = np.arange(USERS) % len(platform.users.shown)
    now_us = np.maximum(platform.users.decayed_at[users], midnight) + 1
    shape = len(users), home.world.settings.slate
    slates, odds = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    videos = recall.recall_users(users, platform).videos
    rows = int((videos >= 0).sum())
    steps = {
        "recall, users a second": (
            len(users),
            lambda: in_parts(lambda part: _recall(recall, users[part], platform), len(users)),
        ),
        "frames and encoding, candidates a second": (
            rows,
            _encoding(ranker.frames, ranker, platform, users, now_us, videos),
        ),
        "`predict` of encoded rows": (rows, _predicting(ranker, platform, users, now_us, videos)),
        "all of it, candidates a second": (
            rows,
            lambda: policy.choose(14, 0, users, now_us, platform, slates, odds),
        ),
    }
    return {name: count / _best(step) for name, (count, step) in steps.items()}


def _recall(recall: ManyRecall, users: NDArray[np.int64], platform: Platform) -> None:
    recall.recall_users(users, platform)


def _encoding(
    frames: FrameMaker,
    ranker: ManyRanker,
    platform: Platform,
    users: NDArray[np.int64],
    now_us: NDArray[np.int64],
    videos: NDArray[np.int32],
) -> Callable[[], None]:
    def step(part: slice) -> None:
        frame = frames.make(platform, users[part], now_us[part], Candidates.of(videos[part]))
        encode(frame, ranker.stored.known, places=frames.places)

    return lambda: in_parts(step, len(users))


def _predicting(
    ranker: ManyRanker,
    platform: Platform,
    users: NDArray[np.int64],
    now_us: NDArray[np.int64],
    videos: NDArray[np.int32],
) -> Callable[[], None]:
    """The model on rows that were encoded before, in the same parts."""
    ready = {}

    def prepare(part: slice) -> None:
        frame = ranker.frames.make(platform, users[part], now_us[part], Candidates.of(videos[part]))
        ready[part.start] = encode(frame, ranker.stored.known, places=ranker.frames.places)

    def step(part: slice) -> None:
        predict(ranker.model, ready[part.start])

    in_parts(prepare, len(users))
    return lambda: in_parts(step, len(users))


def _best(step: Callable[[], None]) -> float:
    """Seconds of the quickest of some trials, after one that compiles."""
    step()
    seconds = []
    for _ in range(TRIALS):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def say(line: str) -> None:
    """A line at once: the rates take minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
