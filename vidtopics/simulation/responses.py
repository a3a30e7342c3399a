"""What a user does with a slate.

Click, watch, refresh again (`docs/simulation.md` has the equations and the targets).

The user goes down the slate: a glance at each video, and what is clicked is watched before the next
glance. Draws are keyed by user, video, day and refresh, never by position, so that policies meet
the same user.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.items import DAY, Items
from vidtopics.simulation.jit import kernel, parallel_kernel, prange
from vidtopics.simulation.philox import Stream, normal_pair, philox, uniform
from vidtopics.simulation.users import INTERESTS, Users

# Fitted (A): see docs/simulation.md, "Fit".
REFRESH_INTERCEPT = -1.85
WATCH_INTERCEPT = 4.45

POSITION_DECAY = 0.35
APPEAL_WEIGHT = 0.5
FATIGUE_WEIGHT, FATIGUE_HALF_LIFE = 0.15, 2 * 3_600_000_000
SEEN_WEIGHT, SEEN_LENGTH = 2.0, 128
AGE_WEIGHT, AGE_DAYS = 0.3, 3.0
WATCH_AFFINITY, WATCH_SATISFACTION, WATCH_SIGMA = 0.26, 0.35, 1.05
LOOP_SHARE = 0.25
REFRESH_CLICKS, REFRESH_MEAN_CLICKS, REFRESH_TIRING = 0.18, 2.3, 0.05
PULL = 0.02
"""Step of an interest towards a video of which at least half was watched."""
GLANCE = 2_000_000
"""Mean microseconds before a user clicks or goes on (A)."""


class State(NamedTuple):
    """What changes about users: interests and their weights drift, the rest is memory.

    One row for each user.

    `clock` is when the user's last action ended, `rested` when `fatigue` was last brought up to
    date (microseconds); `seen` is a ring of the last 128 videos shown, -1 where empty; `joy` sums
    the satisfaction of the day's `clicks`.
    """

    interests: NDArray[np.float32]
    log_weights: NDArray[np.float32]
    fatigue: NDArray[np.float32]
    clock: NDArray[np.int64]
    rested: NDArray[np.int64]
    seen: NDArray[np.int32]
    shown: NDArray[np.int64]
    joy: NDArray[np.float32]
    clicks: NDArray[np.int32]


class Responses(NamedTuple):
    """What n users did with their slates of k: [n, k] each but `again` [n].

    0 where there was no click.
    """

    shown_at: NDArray[np.int64]
    clicked: NDArray[np.int8]
    clicked_at: NDArray[np.int64]
    watch_seconds: NDArray[np.float32]
    again: NDArray[np.bool_]


def new_state(users: Users, start: int) -> State:
    """The state before the first day."""
    n = len(users.bias)
    return State(
        interests=users.interests.copy(),
        log_weights=users.log_weights.copy(),
        fatigue=np.zeros((n, INTERESTS), dtype=np.float32),
        clock=np.full(n, start),
        rested=np.full(n, start),
        seen=np.full((n, SEEN_LENGTH), -1, dtype=np.int32),
        shown=np.zeros(n, dtype=np.int64),
        joy=np.zeros(n, dtype=np.float32),
        clicks=np.zeros(n, dtype=np.int32),
    )


def empty_responses(users: int, slate: int) -> Responses:
    """Room for the responses of one block."""
    return Responses(
        shown_at=np.zeros((users, slate), dtype=np.int64),
        clicked=np.zeros((users, slate), dtype=np.int8),
        clicked_at=np.zeros((users, slate), dtype=np.int64),
        watch_seconds=np.zeros((users, slate), dtype=np.float32),
        again=np.zeros(users, dtype=np.bool_),
    )


@kernel
def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)).

    >>> sigmoid(0.0)
    0.5
    """
    return float(1.0 / (1.0 + np.exp(-x)))


@kernel
def affinity(
    taste: NDArray[np.float32],
    interests: NDArray[np.float32],
    log_weights: NDArray[np.float32],
    sharpness: float,
) -> tuple[float, int]:
    """Affinity a = log sum_m w_m exp(sharpness (cos(v, p_m) - 1)) <= 0, and the main interest.

    That is the one with the greatest term.

    >>> import math
    >>> e = np.eye(2, 16, dtype=np.float32)
    >>> a, interest = affinity(e[0], e, np.log(np.array([0.5, 0.5], dtype=np.float32)), 8.0)
    >>> round(a, 4) == round(math.log(0.5 * 1 + 0.5 * math.exp(-8)), 4), interest
    (True, 0)
    """
    total, best, strongest = 0.0, -1.0, 0
    for m in range(len(log_weights)):
        cosine = 0.0
        for j in range(len(taste)):
            cosine += float(taste[j]) * float(interests[m, j])
        term = np.exp(float(log_weights[m]) + sharpness * (cosine - 1.0))
        total += term
        if term > best:
            best, strongest = term, m
    return np.log(total), strongest


@kernel
def click_logit(
    affinity: float, appeal: float, bias: float, fatigue: float, seen: bool, age_days: float
) -> float:
    """Logit of a click: a + 0.5 q + b - 0.15 fatigue - 2 seen - 0.3 log2(1 + age / 3 d).

    The user's bias b holds the world's intercept.

    >>> round(click_logit(-1.0, 2.0, 6.0, 4.0, True, 9.0), 6)  # -1 + 1 + 6 - .6 - 2 - .6
    2.8
    """
    return float(
        affinity
        + APPEAL_WEIGHT * appeal
        + bias
        - FATIGUE_WEIGHT * fatigue
        - SEEN_WEIGHT * seen
        - AGE_WEIGHT * np.log2(1.0 + age_days / AGE_DAYS)
    )


@kernel
def click_probability(rank: int, logit: float) -> float:
    """Probability of a click at `rank`, 1 being the first: rank^-0.35 sigmoid(logit).

    >>> round(click_probability(1, 0.0), 3), round(click_probability(8, 0.0), 3)
    (0.5, 0.241)
    """
    return float(rank**-POSITION_DECAY * sigmoid(logit))


@kernel
def pair_logits(
    items: Items,
    users: Users,
    ages: NDArray[np.float64],
    sharpness: float,
    logits: NDArray[np.float64],
) -> None:
    """Fill `logits` [n, k]: user i, rested, on the unseen videos i k, i k + 1, ... modulo n.

    There are n users and n videos, `ages` [n] days old.
    """
    n, k = logits.shape
    for i in range(n):
        for j in range(k):
            video = (i * k + j) % n
            a, _ = affinity(items.taste[video], users.interests[i], users.log_weights[i], sharpness)
            logits[i, j] = click_logit(
                a, items.appeal[video], users.bias[i], 0.0, False, ages[video]
            )


@kernel
def watch_seconds(
    affinity: float, satisfaction: float, duration: float, noise: float, loops: bool
) -> float:
    """min(C, D), C ~ LogNormal(intercept + 0.26 (a + 1.2) + 0.35 s, 1.05).

    Who loops watches on up to a second time.

    >>> [round(watch_seconds(-1.2, 0.0, 30.0, 0.0, loops), 1) for loops in (False, True)]
    [30.0, 60.0]
    """
    mean = WATCH_INTERCEPT + WATCH_AFFINITY * (affinity + 1.2) + WATCH_SATISFACTION * satisfaction
    return float(min(np.exp(mean + WATCH_SIGMA * noise), duration * (2.0 if loops else 1.0)))


@kernel
def refresh_probability(log_rho: float, clicks: int, refresh: int) -> float:
    """sigmoid(intercept + log rho + 0.18 (clicks - 2.3) - 0.05 refresh); last slate's clicks."""
    logit = (
        REFRESH_INTERCEPT
        + log_rho
        + REFRESH_CLICKS * (clicks - REFRESH_MEAN_CLICKS)
        - REFRESH_TIRING * refresh
    )
    return sigmoid(logit)


@kernel
def _rest(state: State, user: int) -> None:
    """Fatigue halves in two hours."""
    left = 0.5 ** ((state.clock[user] - state.rested[user]) / FATIGUE_HALF_LIFE)
    for m in range(state.fatigue.shape[1]):
        state.fatigue[user, m] *= left
    state.rested[user] = state.clock[user]


@kernel
def _is_among(videos: NDArray[np.int32], video: int) -> bool:
    among = False
    for j in range(len(videos)):
        among |= videos[j] == video
    return among


@kernel
def _remember(state: State, user: int, video: int) -> bool:
    """Note that the video was shown, and say whether it was among the 128 before."""
    seen = _is_among(state.seen[user], video)
    state.seen[user, state.shown[user] % SEEN_LENGTH] = video
    state.shown[user] += 1
    return seen


@kernel
def _pull(state: State, user: int, interest: int, taste: NDArray[np.float32]) -> None:
    row, length = state.interests[user, interest], 0.0
    for j in range(len(taste)):
        row[j] += PULL * (taste[j] - row[j])
        length += row[j] * row[j]
    for j in range(len(taste)):
        row[j] /= np.sqrt(length)


@kernel
def _watch(
    seed: int,
    day: int,
    refresh: int,
    user: int,
    video: int,
    affinity: float,
    interest: int,
    items: Items,
    state: State,
) -> float:
    """The user watches the clicked video: seconds."""
    w0, w1, w2, _ = philox(seed, Stream.WATCH.value, user, video, day, refresh)
    noise, _ = normal_pair(w0, w1)
    satisfaction, duration = items.satisfaction[video], items.duration[video]
    seconds = watch_seconds(affinity, satisfaction, duration, noise, uniform(w2) < LOOP_SHARE)
    state.clock[user] += np.int64(seconds * 1e6)
    state.fatigue[user, interest] += 1
    state.joy[user] += satisfaction
    state.clicks[user] += 1
    if seconds >= 0.5 * duration:
        _pull(state, user, interest, items.taste[video])
    return seconds


@kernel
def _go_down(
    seed: int,
    day: int,
    refresh: int,
    i: int,
    user: int,
    slate: NDArray[np.int32],
    items: Items,
    users: Users,
    sharpness: float,
    state: State,
    out: Responses,
) -> None:
    """One user and one slate [k]; the user is row `i` of `out`."""
    for k in range(len(slate)):
        video = slate[k]
        a, interest = affinity(
            items.taste[video], state.interests[user], state.log_weights[user], sharpness
        )
        _rest(state, user)
        seen = _remember(state, user, video)
        age = max(state.clock[user] - items.published[video], 0) / DAY
        logit = click_logit(
            a,
            items.appeal[video],
            users.bias[user],
            state.fatigue[user, interest],
            seen,
            age,
        )
        w0, w1, _, _ = philox(seed, Stream.CLICK.value, user, video, day, refresh)
        out.shown_at[i, k] = state.clock[user]
        state.clock[user] += np.int64(GLANCE * (0.5 + uniform(w1)))
        if uniform(w0) < click_probability(k + 1, logit):
            out.clicked[i, k], out.clicked_at[i, k] = 1, state.clock[user]
            out.watch_seconds[i, k] = _watch(
                seed, day, refresh, user, video, a, interest, items, state
            )
    w0, _, _, _ = philox(seed, Stream.REFRESH.value, user, refresh, day, 0)
    out.again[i] = uniform(w0) < refresh_probability(
        users.log_rho[user], out.clicked[i].sum(), refresh
    )


@parallel_kernel
def respond(
    seed: int,
    day: int,
    refresh: int,
    chosen: NDArray[np.int64],
    slates: NDArray[np.int32],
    items: Items,
    users: Users,
    sharpness: float,
    state: State,
    out: Responses,
) -> None:
    """Show slates [n, k] to users `chosen` [n]; responses go to `out`, their effects to `state`."""
    # The loop's body is a kernel of its own: writes through tuples inside a prange are optimised
    # away (numba 0.6x).
    for row in prange(len(chosen)):
        i = int(np.int64(row))  # unsigned in a prange: all below would be compiled for both
        _go_down(seed, day, refresh, i, chosen[i], slates[i], items, users, sharpness, state, out)


@parallel_kernel
def fill_by_logit(
    users: NDArray[np.int64],
    now_us: NDArray[np.int64],
    live: NDArray[np.int32],
    seen: NDArray[np.int32],
    items: Items,
    tastes: Users,
    sharpness: float,
    slates: NDArray[np.int32],
) -> None:
    """The k highest click logits of each user, highest first; ties by place in `live`."""
    for i in prange(len(users)):
        user, size = users[i], slates.shape[1]
        logits = np.full(size, -np.inf)
        for j in range(len(live)):
            video = live[j]
            a, _ = affinity(
                items.taste[video], tastes.interests[user], tastes.log_weights[user], sharpness
            )
            age = max(now_us[i] - items.published[video], 0) / DAY
            logit = click_logit(a, items.appeal[video], tastes.bias[user], 0.0, False, age)
            if logit > logits[size - 1] and _is_among(seen[user], video):
                logit = click_logit(a, items.appeal[video], tastes.bias[user], 0.0, True, age)
            place = size
            while place and logit > logits[place - 1]:
                place -= 1
            if place < size:
                for later in range(size - 1, place, -1):
                    logits[later], slates[i, later] = logits[later - 1], slates[i, later - 1]
                logits[place], slates[i, place] = logit, video
