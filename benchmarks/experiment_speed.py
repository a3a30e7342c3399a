"""How fast does a simulated experiment run? Impressions per second of its parts.

`python -m benchmarks.experiment_speed` prints, for one block of users that are served again and
again: what they do with their slates (the response kernel), how fast numpy computes the affinities
alone (for scale), and what the platform takes in of it. Seconds are of processor time over the
number of threads, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.items import start_of
from vidtopics.simulation.loop import Batch
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import empty_responses, new_state, respond
from vidtopics.simulation.world import World


def measure(users: int, rounds: int) -> dict[str, float]:
    """Impressions per second of each part on all threads, the best of `rounds` rounds."""
    world = World.build(SimulationSettings(users=users), 7)
    state, platform = new_state(world.users, start_of(world.settings)), Platform.new(world)
    platform.open_day(start_of(world.settings) + 1)
    rng = np.random.default_rng(7)
    rows = np.arange(users)
    first = rng.integers(0, len(platform.live) - world.settings.slate, users)
    slates = platform.live[first[:, None] + np.arange(world.settings.slate)]
    out = empty_responses(*slates.shape)
    odds = np.ones(slates.shape, np.float32)
    batch = Batch(0, 0, rows, slates, odds, out)

    def answer() -> None:
        respond(
            world.seed,
            0,
            0,
            rows,
            slates,
            world.items,
            world.users,
            world.settings.sharpness,
            state,
            out,
        )

    parts: dict[str, Callable[[], object]] = {
        "responses": answer,
        "affinities alone, by numpy": lambda: _affinities(world, slates),
        "platform": lambda: platform.record(batch),
    }
    threads = {"responses": numba.get_num_threads()}  # the others use one
    return {
        name: slates.size * threads.get(name, 1) / _best(part, rounds)
        for name, part in parts.items()
    }


def _affinities(world: World, slates: NDArray[np.int32]) -> NDArray[np.float32]:
    cosine = np.einsum("nkd,nmd->nkm", world.items.taste[slates], world.users.interests)
    terms = world.users.log_weights[:, None] + world.settings.sharpness * (cosine - 1)
    affinities: NDArray[np.float32] = np.log(np.exp(terms).sum(axis=2))
    return affinities


def _best(part: Callable[[], object], rounds: int) -> float:
    part()  # compiled
    seconds = []
    for _ in range(rounds):
        begin = time.process_time()
        part()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sys.stdout.write(f"{options.users:,} users, {numba.get_num_threads()} threads\n")
    for name, speed in measure(options.users, options.rounds).items():
        sys.stdout.write(f"{name:32}{speed / 1e6:8.2f} M impressions/s\n")


if __name__ == "__main__":
    main()
