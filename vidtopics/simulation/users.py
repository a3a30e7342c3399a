"""Users: interests in the space of taste, how they drift, how often and how long they come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.classes import Classes, pick
from vidtopics.simulation.items import TASTE, TasteNet, content, tastes
from vidtopics.simulation.jit import parallel_kernel, prange
from vidtopics.simulation.philox import Stream, normal_pair, normals, philox, uniforms

INTERESTS = 4
CONCENTRATION = 0.8
"""Of the Dirichlet over a user's interests."""
BIAS_SIGMA = 0.6
ACTIVITY = (1.2, 1.66)
"""Beta of the probability that a user comes on a day; its mean is .42 (KuaiRec: .417)."""
SESSION_SIGMA = 1.75
"""Spread of log rho, which sets how long sessions are."""
DRIFT_RATE, DRIFT_SIGMA = 0.1, 0.3
"""theta and sigma of the daily Ornstein-Uhlenbeck step on log weights."""
REPLACE = 0.01
"""Daily probability that an interest gives way to another."""
_ROWS = 65_536


class Users(NamedTuple):
    """Latents of U users.

    `interests` [U, 4, 16] of length 1, `log_weights` [U, 4] whose exp sums to 1, scalars [U].
    `bias` is added to the logit of every click.
    """

    interests: NDArray[np.float32]
    log_weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    activity: NDArray[np.float32]
    log_rho: NDArray[np.float32]


def make_users(settings: SimulationSettings, classes: Classes, net: TasteNet, seed: int) -> Users:
    """Latents of all users; a user's latents don't depend on how many there are."""
    rows = np.arange(settings.users)
    u = uniforms(seed, Stream.USER, rows, 8)
    z = normals(seed, Stream.USER_NORMAL, rows, 4)
    interests = np.empty((settings.users, INTERESTS, TASTE), dtype=np.float32)
    for first in range(0, settings.users, _ROWS):
        block = rows[first : first + _ROWS]
        slots = (block[:, None] * INTERESTS + np.arange(INTERESTS)).ravel()
        interests[block] = new_interests(classes, net, seed, slots, day=0).reshape(
            -1, INTERESTS, TASTE
        )
    gamma = special.gammaincinv(CONCENTRATION, u[:, :INTERESTS])
    return Users(
        interests=interests,
        log_weights=np.log(gamma / gamma.sum(axis=1, keepdims=True)).astype(np.float32),
        bias=(BIAS_SIGMA * z[:, 0]).astype(np.float32),
        activity=special.betaincinv(*ACTIVITY, u[:, INTERESTS]).astype(np.float32),
        log_rho=(SESSION_SIGMA * z[:, 1]).astype(np.float32),
    )


def new_interests(
    classes: Classes, net: TasteNet, seed: int, slots: NDArray[np.int64], *, day: int
) -> NDArray[np.float64]:
    """Interests that arise on `day` for `slots` (4 * user + interest).

    Tastes of videos that might be, [n, 16].
    """
    topic = pick(classes.share, uniforms(seed, Stream.INTEREST, slots, 1, day=day)[:, 0])
    return tastes(*content(classes, topic, seed, Stream.INTEREST_NORMAL, slots, day=day), net)


def replaced(settings: SimulationSettings, seed: int, day: int) -> NDArray[np.int64]:
    """Slots (4 * user + interest) whose interest gives way to another on `day`."""
    u = uniforms(seed, Stream.REPLACE, np.arange(settings.users), INTERESTS, day=day)
    return np.flatnonzero(u.ravel() < REPLACE)


@parallel_kernel
def drift_weights(
    seed: int, day: int, home: NDArray[np.float32], log_weights: NDArray[np.float32]
) -> None:
    """One day's Ornstein-Uhlenbeck step of log weights [U, 4] towards the user's `home`.

    Their exp sums to 1 again.
    """
    for user in prange(len(log_weights)):
        i = int(np.int64(user))  # unsigned in a prange: `philox` would be compiled for both
        a, b, c, d = philox(seed, Stream.DRIFT.value, i, 0, day, 0)
        z = normal_pair(a, b) + normal_pair(c, d)
        total = 0.0
        row = np.empty(INTERESTS)
        for m in range(INTERESTS):
            row[m] = (
                log_weights[i, m]
                + DRIFT_RATE * (home[i, m] - log_weights[i, m])
                + DRIFT_SIGMA * z[m]
            )
            total += np.exp(row[m])
        for m in range(INTERESTS):
            log_weights[i, m] = row[m] - np.log(total)
