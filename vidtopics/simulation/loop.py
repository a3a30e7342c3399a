"""Days, refresh rounds, blocks of users: what happens in a world as a stream of batches.

In a round every user who still is in a session gets one slate from the policy of its arm. Blocks
are cut from the ascending list of those users and what happened is committed after the round, so
the stream is the same for every block size and number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vidtopics.errors import SettingsError, explain
from vidtopics.simulation.items import DAY, TASTE, start_of, taste_net
from vidtopics.simulation.philox import Stream, normals, uniforms
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.policy import Policy
from vidtopics.simulation.responses import Responses, State, empty_responses, new_state, respond
from vidtopics.simulation.slates import LoggedPolicy
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
    """One block of a round: `users` [n] got `slates` [n, k] and did `responses`.

    `propensities` [n, k] are the policy's probabilities of each video, given those before it.
    """

    day: int
    refresh: int
    users: NDArray[np.int64]
    slates: NDArray[np.int32]
    propensities: NDArray[np.float32]
    responses: Responses


def simulate(world: World, *, block: int = BLOCK) -> Iterator[Batch]:
    """The world's own log, by :class:`LoggedPolicy`, in order of day, refresh and user.

    Memory holds the state of all users and one block's rows.

    SettingsError where the pool at the start is smaller than a slate.
    """
    state = new_state(world.users, start_of(world.settings))
    arm_of = np.zeros(world.settings.users, dtype=np.int8)
    days = range(world.settings.days)
    yield from run_days(
        world, state, Platform.new(world), [LoggedPolicy(world)], arm_of, days, block=block
    )


def run_days(
    world: World,
    state: State,
    platform: Platform,
    arms: Sequence[Policy],
    arm_of: NDArray[np.int8],
    days: range,
    *,
    block: int = BLOCK,
) -> Iterator[Batch]:
    """Run days under policies; `state` and `platform` change with the batches.

    Draws are keyed by user, video, day and refresh, so that a user whose slates are the same does
    the same in every arm.

    Args:
        world: what is planted.
        state: users as they are before the first of `days`.
        platform: what was recorded before the first of `days`.
        arms: policies.
        arm_of: int8[U] place of each user's policy among `arms`.
        days: days since the world's start, ascending.
        block: users that are served at once; changes no byte.

    Raises:
        SettingsError: fewer videos than a slate are live on the first day.
    """
    for day in days:
        platform.open_day(start_of(world.settings) + day * DAY)
        _check_pool(world, platform)
        for policy in arms:
            policy.open_day(day, platform)
        if day:
            drift(world, state, day)
        yield from _day(world, state, platform, arms, arm_of, day, block)


def _day(
    world: World,
    state: State,
    platform: Platform,
    arms: Sequence[Policy],
    arm_of: NDArray[np.int8],
    day: int,
    block: int,
) -> Iterator[Batch]:
    active = come(world, state, day)
    refresh = 0
    while active.size:
        again = []
        for first in range(0, active.size, block):
            users = active[first : first + block]
            slates, propensities = _choose(
                world, state, platform, arms, arm_of, day, refresh, users
            )
            out = empty_responses(*slates.shape)
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
            batch = Batch(day, refresh, users, slates, propensities, out)
            platform.record(batch)
            again.append(users[out.again])
            yield batch
        platform.commit()
        active, refresh = np.concatenate(again), refresh + 1


def _choose(
    world: World,
    state: State,
    platform: Platform,
    arms: Sequence[Policy],
    arm_of: NDArray[np.int8],
    day: int,
    refresh: int,
    users: NDArray[np.int64],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Slates and propensities [n, k] of a block, each user's by the policy of its arm."""
    shape = (users.size, world.settings.slate)
    slates = np.full(shape, -1, dtype=np.int32)
    propensities = np.full(shape, np.nan, dtype=np.float32)
    for arm, policy in enumerate(arms):
        rows = np.flatnonzero(arm_of[users] == arm)
        if rows.size:
            part, odds = slates[rows], propensities[rows]
            chosen = users[rows]
            policy.choose(day, refresh, chosen, state.clock[chosen], platform, part, odds)
            slates[rows], propensities[rows] = part, odds
    return slates, propensities


def come(world: World, state: State, day: int) -> NDArray[np.int64]:
    """Users who come on a day, ascending; sets their clocks, and clears what yesterday left."""
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
    drift_tastes(world, day, state.interests, state.log_weights)


def drift_tastes(
    world: World,
    day: int,
    interests: NDArray[np.float32],
    log_weights: NDArray[np.float32],
) -> None:
    """The same of interests [U, 4, 16] and log weights [U, 4] alone."""
    drift_weights(world.seed, day, world.users.log_weights, log_weights)
    slots = replaced(world.settings, world.seed, day)
    net = taste_net(world.settings, world.seed)
    fresh = new_interests(world.classes, net, world.seed, slots, day=day)
    interests.reshape(-1, TASTE)[slots] = fresh


def _check_pool(world: World, platform: Platform) -> None:
    live = len(platform.live)
    if live < world.settings.slate:
        raise SettingsError(
            explain(
                "simulation.videos",
                expected=f"a slate of {world.settings.slate} videos on the first day",
                found=f"{live} live",
                mend="raise videos or lower slate",
            )
        )
