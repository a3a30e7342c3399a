"""Days, refresh rounds, blocks of users: the log as a stream of batches.

In a round every user who still is in a session gets one slate. Blocks are cut from the ascending
list of those users and counts are committed after the round, so the log is the same for every block
size and number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vidtopics.errors import SettingsError, explain
from vidtopics.simulation.items import DAY, TASTE, start_of, taste_net
from vidtopics.simulation.philox import Stream, normals, uniforms
from vidtopics.simulation.responses import Responses, State, empty_responses, new_state, respond
from vidtopics.simulation.slates import Popularity, choose
from vidtopics.simulation.users import drift_weights, new_interests, replaced
from vidtopics.simulation.world import World

BLOCK = 65_536
RETENTION = 0.1
"""What a unit of yesterday's mean satisfaction adds to the logit of coming back (A)."""
SESSION_HOUR = (15.0, 5.0)
"""Mean and sd of the hour at which a session starts, around the clock (A)."""
PAUSE = 60_000_000
"""A session that would start before the last one ended starts a minute after it."""


@dataclass(frozen=True)
class Batch:
    """One block of a round: `users` [n] got `slates` [n, k] and did `responses`."""

    day: int
    refresh: int
    users: NDArray[np.int64]
    slates: NDArray[np.int32]
    responses: Responses


def simulate(world: World, *, block: int = BLOCK) -> Iterator[Batch]:
    """The world's log in order of day, refresh and user.

    Memory holds the state of all users and one block's rows.

    SettingsError where the pool at the start is smaller than a slate.
    """
    state = new_state(world.users, start_of(world.settings))
    popularity = Popularity(world.items, world.settings.popularity_exponent)
    for day in range(world.settings.days):
        popularity.open_day(start_of(world.settings) + day * DAY)
        _check_pool(world, popularity)
        if day:
            drift(world, state, day)
        yield from _day(world, state, popularity, day, block)


def _day(
    world: World, state: State, popularity: Popularity, day: int, block: int
) -> Iterator[Batch]:
    active = _come(world, state, day)
    refresh = 0
    while active.size:
        live, popular = popularity.shares()
        clicks, still = np.zeros(world.settings.videos, dtype=np.int64), []
        for first in range(0, active.size, block):
            users = active[first : first + block]
            slates = np.full((users.size, world.settings.slate), -1, dtype=np.int32)
            out = empty_responses(*slates.shape)
            choose(world.seed, day, refresh, users, live, popular, slates)
            respond(
                world.seed,
                day,
                refresh,
                users,
                slates,
                world.items,
                world.users,
                world.settings.sharpness,
                state,
                out,
            )
            clicks += np.bincount(slates[out.clicked == 1], minlength=world.settings.videos)
            still.append(users[out.again])
            yield Batch(day, refresh, users, slates, out)
        popularity.commit(clicks)
        active, refresh = np.concatenate(still), refresh + 1


def _come(world: World, state: State, day: int) -> NDArray[np.int64]:
    """Users who come today, ascending; sets their clocks, and clears what yesterday left."""
    rows = np.arange(world.settings.users)
    joy = state.joy / np.maximum(state.clicks, 1)
    state.joy[:], state.clicks[:] = 0, 0
    u = uniforms(world.seed, Stream.SESSION, rows, 1, day=day)[:, 0]
    active = np.flatnonzero(
        u < special.expit(special.logit(world.users.activity) + RETENTION * joy)
    )
    hour = (
        SESSION_HOUR[0]
        + SESSION_HOUR[1] * normals(world.seed, Stream.SESSION, active, 4, day=day)[:, 2]
    )
    begin = start_of(world.settings) + day * DAY + ((hour % 24) / 24 * DAY).astype(np.int64)
    state.clock[active] = np.maximum(begin, state.clock[active] + PAUSE)
    return active


def drift(world: World, state: State, day: int) -> None:
    """The daily step of all users' weights and interests: into `day`, before anybody comes."""
    drift_weights(world.seed, day, world.users.log_weights, state.log_weights)
    slots = replaced(world.settings, world.seed, day)
    net = taste_net(world.settings, world.seed)
    fresh = new_interests(world.classes, net, world.seed, slots, day=day)
    state.interests.reshape(-1, TASTE)[slots] = fresh


def _check_pool(world: World, popularity: Popularity) -> None:
    live = len(popularity.shares()[0])
    if live < world.settings.slate:
        raise SettingsError(
            explain(
                "simulation.videos",
                expected=f"a slate of {world.settings.slate} videos on the first day",
                found=f"{live} live",
                mend="raise videos or lower slate",
            )
        )
