"""Who is shown what: half popular, half random over the live pool.

The world's own log is by :class:`LoggedPolicy`. Each slot is drawn by two numbers keyed by user,
slot, day and refresh: the first says whether it is a popular or a random one, the second which
video of that distribution (inversion), so that policies that differ in their distributions alone
are compared with common random numbers. A video comes at most once in a slate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.items import DAY, Items, start_of
from vidtopics.simulation.jit import kernel, parallel_kernel, prange
from vidtopics.simulation.philox import Stream, philox, uniform
from vidtopics.simulation.world import World

if TYPE_CHECKING:
    from vidtopics.simulation.platform import Platform

POPULAR_SHARE = 0.5
HALF_LIFE_DAYS = 3.0
"""A click counts half as much for popularity three days later."""
PRIOR_CLICKS = 1.0
"""What a video without clicks counts, so that new ones have a chance among the popular."""
_ATTEMPTS = 16


class Popularity:
    """Clicks of every video, halved in three days; popular slots go by their power `exponent`.

    The day's own are integers, so that no order of adding matters.
    """

    def __init__(self, items: Items, exponent: float) -> None:
        self._items = items
        self._exponent = exponent
        self._earlier = np.zeros(len(items.topic))
        self._today = np.zeros(len(items.topic), dtype=np.int64)
        self._live = np.empty(0, dtype=np.int32)

    def open_day(self, midnight: int) -> None:
        """Forget a day's worth, and take in what was published before `midnight`."""
        self._earlier = (self._earlier + self._today) * 0.5 ** (1 / HALF_LIFE_DAYS)
        self._today[:] = 0
        self._live = np.flatnonzero(self._items.published < midnight).astype(np.int32)

    def commit(self, clicks: NDArray[np.int64]) -> None:
        """Add a round's clicks [V]."""
        self._today += clicks

    def shares(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Live videos [n] and their cumulative shares of popularity [n]."""
        clicks = self._earlier[self._live] + self._today[self._live] + PRIOR_CLICKS
        weight = np.cumsum(clicks**self._exponent)
        return self._live, weight / weight[-1]


@kernel
def _holds(slate: NDArray[np.int32], video: int) -> bool:
    held = False
    for k in range(len(slate)):
        held |= slate[k] == video
    return held


@parallel_kernel
def choose(
    seed: int,
    day: int,
    refresh: int,
    chosen: NDArray[np.int64],
    live: NDArray[np.int32],
    popular: NDArray[np.float64],
    slates: NDArray[np.int32],
) -> None:
    """Fill `slates` [n, k] for users `chosen` [n] from the `live` videos.

    There must be at least k of them.
    """
    for i in prange(len(chosen)):
        for k in range(slates.shape[1]):
            place = 0
            for attempt in range(_ATTEMPTS):
                w0, w1, _, _ = philox(
                    seed, Stream.SLATE.value, chosen[i], k * _ATTEMPTS + attempt, day, refresh
                )
                if uniform(w0) < POPULAR_SHARE:
                    place = min(int(np.searchsorted(popular, uniform(w1))), len(live) - 1)
                else:
                    place = int(uniform(w1) * len(live))
                if not _holds(slates[i, :k], live[place]):
                    break
            while _holds(slates[i, :k], live[place]):
                place = (place + 1) % len(live)
            slates[i, k] = live[place]


class LoggedPolicy:
    """The policy of the world's own log."""

    name = "logged"

    def __init__(self, world: World) -> None:
        self._world = world
        self._popularity = Popularity(world.items, world.settings.popularity_exponent)
        self._committed = np.zeros(len(world.items.topic), dtype=np.int64)

    def open_day(self, day: int, platform: Platform) -> None:
        """Forget a day's worth, and take in the new videos."""
        self._take_in(platform)
        self._popularity.open_day(start_of(self._world.settings) + day * DAY)

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
        """Fill slates [n, k]; `propensities` stay as they are."""
        self._take_in(platform)
        choose(self._world.seed, day, refresh, users, *self._popularity.shares(), slates)

    def _take_in(self, platform: Platform) -> None:
        """Add the clicks that were committed since the last call."""
        self._popularity.commit(platform.clicks - self._committed)
        self._committed = platform.clicks.copy()
