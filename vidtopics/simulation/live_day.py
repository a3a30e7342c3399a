"""A day of the world that something outside serves: users come, and do with a slate as they would.

Days under policies are :mod:`vidtopics.simulation.loop`'s; here each slate comes from a service, at
its own time. Draws are the same, keyed by user, video, day and refresh: a user who is shown what a
policy would have shown does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import Batch, come, drift, run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.policy import Policy
from vidtopics.simulation.responses import State, empty_responses, new_state, respond
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.simulation.world import World


@dataclass(frozen=True)
class Shown:
    """An impression: the video at its place (1 is the first), times in the world's microseconds.

    `clicked_us` and `watch_seconds` are None where there was no click.
    """

    video: int
    position: int
    shown_us: int
    clicked_us: int | None
    watch_seconds: float | None


@dataclass(frozen=True)
class Reaction:
    """What a user did with a slate, when that ended, and whether the user wants another."""

    shown: tuple[Shown, ...]
    ended_us: int
    again: bool


class LiveDay:
    """One day; `state` and `platform` change with what users do.

    Args:
        world: what is planted.
        state: users as they are before the day.
        platform: what was recorded before the day.
        day: since the world's start.

    Attributes:
        users: int64[n] who come, ascending.

    >>> from vidtopics.settings import SimulationSettings
    >>> world = World.build(SimulationSettings(users=20, videos=50, days=1), seed=7)
    >>> day = LiveDay(world, *after_log(world, Platform.new(world)), day=1)
    >>> reaction = day.react(int(day.users[0]), 0, [3, 4])
    >>> [shown.video for shown in reaction.shown], reaction.ended_us > reaction.shown[0].shown_us
    ([3, 4], True)
    """

    def __init__(self, world: World, state: State, platform: Platform, day: int) -> None:
        self.world, self.state, self.platform, self.day = world, state, platform, day
        self.midnight_us = start_of(world.settings) + day * DAY
        platform.open_day(self.midnight_us)
        if day:
            drift(world, state, day)
        self.users = come(world, state, day)

    def clock_us(self, user: int) -> int:
        """When the user's next slate is asked for."""
        return int(self.state.clock[user])

    def react(self, user: int, refresh: int, slate: Sequence[int]) -> Reaction:
        """What a user does with a slate.

        Args:
            user: who.
            refresh: slates that the user had on this day.
            slate: videos of the world, at least one, none twice.
        """
        users, slates = np.array([user]), np.array([slate], np.int32)
        out = empty_responses(*slates.shape)
        world = self.world
        respond(
            world.seed,
            self.day,
            refresh,
            users,
            slates,
            world.items,
            world.users,
            world.settings.sharpness,
            self.state,
            out,
        )
        unknown = np.full(slates.shape, np.nan, np.float32)
        self.platform.record(Batch(self.day, refresh, users, slates, unknown, out))
        self.platform.commit()
        columns = (out.shown_at, out.clicked, out.clicked_at, out.watch_seconds)
        rows = zip(slate, *(column[0].tolist() for column in columns), strict=True)
        shown = tuple(
            Shown(video, place, at, *((when, watch) if clicked else (None, None)))
            for place, (video, at, clicked, when, watch) in enumerate(rows, 1)
        )
        return Reaction(shown, self.clock_us(user), bool(out.again[0]))


@dataclass(frozen=True)
class DayUnderPolicy:
    """The same day under a policy: impressions by time, and the clicks on them.

    Attributes:
        shown_us: int64[N], ascending.
        clicked: int64[N], clicks on the impressions up to each, that one among them.
    """

    shown_us: NDArray[np.int64] = field(repr=False)
    clicked: NDArray[np.int64] = field(repr=False)

    def until(self, us: int) -> tuple[int, int]:
        """Impressions and clicks before a time.

        >>> day = DayUnderPolicy(np.array([10, 20, 30]), np.array([0, 1, 1]))
        >>> day.until(10), day.until(21)
        ((0, 0), (2, 1))
        """
        count = int(np.searchsorted(self.shown_us, us))
        return count, int(self.clicked[count - 1]) if count else 0


def under_policy(
    world: World, state: State, platform: Platform, policy: Policy, day: int
) -> DayUnderPolicy:
    """What a day would be under a policy, from copies of users and platform before the day."""
    arm_of = np.zeros(world.settings.users, np.int8)
    copied = State(**{name: array.copy() for name, array in state._asdict().items()})
    batches = list(run_days(world, copied, platform.copy(), [policy], arm_of, range(day, day + 1)))
    shown_us = np.concatenate([batch.responses.shown_at.ravel() for batch in batches])
    clicked = np.concatenate([batch.responses.clicked.ravel() for batch in batches])
    order = np.argsort(shown_us, kind="stable")
    return DayUnderPolicy(shown_us[order], np.cumsum(clicked[order], dtype=np.int64))


def after_log(world: World, platform: Platform) -> tuple[State, Platform]:
    """Users and platform at the end of the world's log; `platform` changes."""
    state = new_state(world.users, start_of(world.settings))
    arm_of, days = np.zeros(world.settings.users, np.int8), range(world.settings.days)
    for _ in run_days(world, state, platform, [LoggedPolicy(world)], arm_of, days):
        pass
    return state, platform
