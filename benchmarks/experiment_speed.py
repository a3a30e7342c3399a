"""How fast does a simulated experiment run? Impressions per second of its parts.

`python -m benchmarks.experiment_speed` prints, for one block of users that are served again and
again: what they do with their slates (the response kernel), the same by numpy's own Philox and
array operations, and what the platform takes in of it. Seconds are of processor time over the
number of threads, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numba
import numpy as np

from benchmarks import numpy_responses
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.items import start_of
from vidtopics.simulation.loop import Batch
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import empty_responses, new_state, respond
from vidtopics.simulation.world import World

KERNEL, NUMPY = "responses", "responses by numpy, one thread"


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

    by_numpy = new_state(world.users, start_of(world.settings))
    random = np.random.Generator(np.random.Philox(7))

    def answer_by_numpy() -> None:
        draws = numpy_responses.draw(random, *slates.shape)
        numpy_responses.respond(world, rows, slates, draws, by_numpy)

    parts: dict[str, Callable[[], object]] = {
        KERNEL: answer,
        NUMPY: answer_by_numpy,
        "platform": lambda: platform.record(batch),
    }
    threads = {KERNEL: numba.get_num_threads()}  # the others use one
    return {
        name: slates.size * threads.get(name, 1) / _best(part, rounds)
        for name, part in parts.items()
    }


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
    speeds = measure(options.users, options.rounds)
    for name, speed in speeds.items():
        sys.stdout.write(f"{name:32}{speed / 1e6:8.2f} M impressions/s\n")
    factor = speeds[KERNEL] / speeds[NUMPY]
    of_thread = factor / numba.get_num_threads()
    sys.stdout.write(f"the kernel is {factor:.1f} times numpy, {of_thread:.1f} times a thread\n")


if __name__ == "__main__":
    main()
