"""Policies that need a world and no home: random, popular, logged, and an oracle.

The oracle ranks all live videos by the true probability of a click at the first rank, but for two
things that happen to users within a day: fatigue and the pull of what they watch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.jit import kernel, parallel_kernel, prange
from vidtopics.simulation.loop import drift_tastes
from vidtopics.simulation.philox import Stream, philox, uniform
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.policy import Policy
from vidtopics.simulation.responses import fill_by_logit
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.simulation.world import World

MOST_POPULAR = 100
"""Videos that are popular: a slate has those of them that the user hasn't seen lately."""


class RandomPolicy:
    """Live videos, all equally likely."""

    name = "random"

    def __init__(self, world: World) -> None:
        self._seed = world.seed

    def open_day(self, day: int, platform: Platform) -> None:
        """Nothing to prepare."""

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
        """Fill slates [n, k]; P(video | earlier slots) is 1 / (live - earlier ones)."""
        _draw_slates(self._seed, day, refresh, users, platform.live, slates)
        propensities[:] = 1 / (len(platform.live) - np.arange(slates.shape[1]))


class PopularPolicy:
    """The most clicked videos as of midnight, those that the user saw lately behind the others."""

    name = "popular"

    def __init__(self, world: World) -> None:
        self._ranked = np.empty(0, dtype=np.int32)

    def open_day(self, day: int, platform: Platform) -> None:
        """Rank the live videos by decayed clicks; ties by row."""
        clicks = platform.known.decayed_clicks[platform.live]
        self._ranked = platform.live[np.argsort(-clicks, kind="stable")[:MOST_POPULAR]]

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
        """Fill slates [n, k]."""
        seen = platform.users.video[users]
        scores = np.empty((len(users), len(self._ranked)))
        _score_by_place(self._ranked, seen, scores)
        slates[:] = self._ranked[np.argsort(-scores, axis=1)[:, : slates.shape[1]]]
        propensities[:] = 1


class OraclePolicy:
    """The live videos that the user is most likely to click."""

    name = "oracle"

    def __init__(self, world: World) -> None:
        self._world, self._day = world, 0
        self._tastes = world.users

    def open_day(self, day: int, platform: Platform) -> None:
        """Let interests drift up to the day, from the world's first where it isn't the next one."""
        if day < self._day or not day:
            self._day = 0
        if not self._day:
            users = self._world.users
            self._tastes = users._replace(
                interests=users.interests.copy(), log_weights=users.log_weights.copy()
            )
        while self._day < day:
            self._day += 1
            drift_tastes(self._world, self._day, self._tastes.interests, self._tastes.log_weights)

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
        """Fill slates [n, k]."""
        fill_by_logit(
            users,
            now_us,
            platform.live,
            platform.users.video,
            self._world.items,
            self._tastes,
            self._world.settings.sharpness,
            slates,
        )
        propensities[:] = 1


BASELINES: Mapping[str, Callable[[World], Policy]] = {
    "random": RandomPolicy,
    "popular": PopularPolicy,
    "logged": LoggedPolicy,
    "oracle": OraclePolicy,
}


@parallel_kernel
def _draw_slates(
    seed: int,
    day: int,
    refresh: int,
    users: NDArray[np.int64],
    live: NDArray[np.int32],
    slates: NDArray[np.int32],
) -> None:
    """Draw again until a video isn't in the slate yet."""
    for i in prange(len(users)):
        for k in range(slates.shape[1]):
            attempt, taken, video = 0, True, -1
            while taken:
                place = k + slates.shape[1] * attempt
                w0, _, _, _ = philox(seed, Stream.SLATE.value, users[i], place, day, refresh)
                video, taken, attempt = live[int(uniform(w0) * len(live))], False, attempt + 1
                for earlier in range(k):
                    taken |= slates[i, earlier] == video
            slates[i, k] = video


@kernel
def _is_among(videos: NDArray[np.int32], video: int) -> bool:
    among = False
    for j in range(len(videos)):
        among |= videos[j] == video
    return among


@parallel_kernel
def _score_by_place(
    ranked: NDArray[np.int32], seen: NDArray[np.int32], scores: NDArray[np.float64]
) -> None:
    """Scores [n, V] that fall with the place, those of seen videos below all others."""
    for i in prange(len(seen)):
        for j in range(len(ranked)):
            scores[i, j] = -j - len(ranked) * _is_among(seen[i], ranked[j])
