"""What users do with slates, by numpy's own Philox and array operations: the kernel's peer.

The equations are those of :mod:`vidtopics.simulation.responses`, one place of the slate after the
other and all users at once. It gives the kernel's answers on the kernel's draws (a test), and says
what the kernel's speed is to be compared with (`python -m benchmarks.experiment_speed`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation import responses as rules
from vidtopics.simulation.items import DAY
from vidtopics.simulation.responses import Responses, State, empty_responses
from vidtopics.simulation.world import World

Floats = NDArray[np.float64]


class Draws(NamedTuple):
    """Numbers in (0, 1), [N, K] but `again` [N]; `watch` is standard normal."""

    click: Floats
    glance: Floats
    watch: Floats
    loop: Floats
    again: Floats


def draw(random: np.random.Generator, users: int, slate: int) -> Draws:
    """Draws for one slate of each user."""
    shape = (users, slate)
    uniform, normal = random.random, random.standard_normal
    return Draws(uniform(shape), uniform(shape), normal(shape), uniform(shape), uniform(users))


def respond(
    world: World, users: NDArray[np.int64], slates: NDArray[np.int32], draws: Draws, state: State
) -> Responses:
    """Responses to slates [N, K] of the first refresh; their effects go to `state`."""
    out = empty_responses(*slates.shape)
    for place in range(slates.shape[1]):
        _respond_at(world, users, slates[:, place], place, draws, state, out)
    clicks = out.clicked.sum(axis=1)
    logit = rules.REFRESH_INTERCEPT + world.users.log_rho[users].astype(float)
    logit += rules.REFRESH_CLICKS * (clicks - rules.REFRESH_MEAN_CLICKS)
    out.again[:] = draws.again < _sigmoid(logit)
    return out


def _respond_at(
    world: World,
    users: NDArray[np.int64],
    video: NDArray[np.int32],
    place: int,
    draws: Draws,
    state: State,
    out: Responses,
) -> None:
    items = world.items
    affinity, interest = _affinities(world, users, video, state)
    _rest(state, users)
    seen = _remember(state, users, video)
    age = np.maximum(state.clock[users] - items.published[video], 0) / DAY
    logit: Floats = affinity + rules.APPEAL_WEIGHT * items.appeal[video] + world.users.bias[users]
    logit -= rules.FATIGUE_WEIGHT * state.fatigue[users, interest] + rules.SEEN_WEIGHT * seen
    logit -= rules.AGE_WEIGHT * np.log2(1 + age / rules.AGE_DAYS)
    out.shown_at[:, place] = state.clock[users]
    state.clock[users] += (rules.GLANCE * (0.5 + draws.glance[:, place])).astype(np.int64)
    clicks = draws.click[:, place] < (place + 1) ** -rules.POSITION_DECAY * _sigmoid(logit)
    rows = np.flatnonzero(clicks)
    user, clicked = users[rows], video[rows]
    out.clicked[rows, place], out.clicked_at[rows, place] = 1, state.clock[user]
    satisfaction, duration = items.satisfaction[clicked], items.duration[clicked].astype(float)
    mean = rules.WATCH_INTERCEPT + rules.WATCH_AFFINITY * (affinity[rows] + 1.2)
    mean += rules.WATCH_SATISFACTION * satisfaction
    longest = duration * np.where(draws.loop[rows, place] < rules.LOOP_SHARE, 2.0, 1.0)
    seconds = np.minimum(np.exp(mean + rules.WATCH_SIGMA * draws.watch[rows, place]), longest)
    out.watch_seconds[rows, place] = seconds
    state.clock[user] += (seconds * 1e6).astype(np.int64)
    state.fatigue[user, interest[rows]] += 1
    state.joy[user] += satisfaction
    state.clicks[user] += 1
    half = seconds >= 0.5 * duration
    _pull(state, user[half], interest[rows][half], items.taste[clicked[half]])


def _affinities(
    world: World, users: NDArray[np.int64], video: NDArray[np.int32], state: State
) -> tuple[Floats, NDArray[np.int64]]:
    """Log sum_m w_m exp(sharpness (cos(v, p_m) - 1)), and the interest with the greatest term."""
    taste, interests = world.items.taste[video], state.interests[users]
    cosine = np.einsum("nd,nmd->nm", taste, interests, dtype=np.float64)
    terms = np.exp(state.log_weights[users] + world.settings.sharpness * (cosine - 1))
    return np.log(terms.sum(axis=1)), terms.argmax(axis=1)


def _rest(state: State, users: NDArray[np.int64]) -> None:
    gap = state.clock[users] - state.rested[users]
    state.fatigue[users] *= (0.5 ** (gap / rules.FATIGUE_HALF_LIFE))[:, None]
    state.rested[users] = state.clock[users]


def _remember(
    state: State, users: NDArray[np.int64], video: NDArray[np.int32]
) -> NDArray[np.bool_]:
    seen: NDArray[np.bool_] = (state.seen[users] == video[:, None]).any(axis=1)
    state.seen[users, state.shown[users] % rules.SEEN_LENGTH] = video
    state.shown[users] += 1
    return seen


def _pull(
    state: State,
    users: NDArray[np.int64],
    interest: NDArray[np.int64],
    taste: NDArray[np.float32],
) -> None:
    rows = state.interests[users, interest]
    rows += rules.PULL * (taste - rows)
    state.interests[users, interest] = rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _sigmoid(logit: NDArray[np.floating]) -> Floats:
    sigmoid: Floats = 1 / (1 + np.exp(-logit))
    return sigmoid
