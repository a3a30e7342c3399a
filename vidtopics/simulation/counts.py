"""Counts of videos and users on the simulated platform, and how responses are added to them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.items import DAY
from vidtopics.simulation.jit import kernel

RING = 128
"""Impressions of a user that are remembered."""
UNIT = 2.0**30
"""A decayed event is a whole number of these parts, so that no order of adding matters."""


class VideoCounts(NamedTuple):
    """Counts of V videos, as `video_statistics` has them; decayed ones hold at `decayed_at`.

    Never shown: zeros.
    """

    exposures: NDArray[np.int64]
    clicks: NDArray[np.int64]
    decayed_exposures: NDArray[np.float64]
    decayed_clicks: NDArray[np.float64]
    decayed_at: NDArray[np.int64]


class Events(NamedTuple):
    """Events that the next midnights will count, [2, V]: in row 0 of this day, in 1 of later ones.

    `weighted_exposures` and `weighted_clicks` are sums of 2 ** ((time - start) / half-life) in
    parts of 2 ** -30, `start` being the row's midnight; `last_us` is the time of the last event.
    """

    exposures: NDArray[np.int64]
    clicks: NDArray[np.int64]
    weighted_exposures: NDArray[np.int64]
    weighted_clicks: NDArray[np.int64]
    last_us: NDArray[np.int64]

    @classmethod
    def empty(cls, videos: int) -> Events:
        """No events."""
        return cls(*(np.zeros((2, videos), np.int64) for _ in cls._fields))


class UserRows(NamedTuple):
    """What is known of U users.

    Rings hold the last 128 impressions, the i-th at place i % 128: `video` (-1: none), `clicked`,
    `at` (a click's own time, else when it was shown) and `expected` (the video's smoothed click
    rate at the day's midnight). `decayed` [U, 3] are exposures, clicks and expected clicks, each
    halved per `users.half_life` until `decayed_at`.
    """

    video: NDArray[np.int32]
    clicked: NDArray[np.int8]
    at: NDArray[np.int64]
    expected: NDArray[np.float32]
    shown: NDArray[np.int64]
    clicks: NDArray[np.int64]
    expected_clicks: NDArray[np.float64]
    decayed: NDArray[np.float64]
    decayed_at: NDArray[np.int64]

    @classmethod
    def empty(cls, users: int) -> UserRows:
        """Users who were shown nothing."""
        return cls(
            video=np.full((users, RING), -1, np.int32),
            clicked=np.zeros((users, RING), np.int8),
            at=np.zeros((users, RING), np.int64),
            expected=np.zeros((users, RING), np.float32),
            shown=np.zeros(users, np.int64),
            clicks=np.zeros(users, np.int64),
            expected_clicks=np.zeros(users),
            decayed=np.zeros((users, 3)),
            decayed_at=np.zeros(users, np.int64),
        )


@kernel
def record_responses(
    users: NDArray[np.int64],
    slates: NDArray[np.int32],
    shown_at: NDArray[np.int64],
    clicked: NDArray[np.int8],
    clicked_at: NDArray[np.int64],
    rate: NDArray[np.float64],
    midnight_us: int,
    video_half_life: float,
    user_half_life: float,
    rows: UserRows,
    events: Events,
) -> None:
    """Add a block's responses to the rows of its users, and to the events of their videos.

    Users [n] were shown slates [n, k]; the rest are the block's responses, videos' rates [V], when
    the day began, and half-lives in microseconds.
    """
    for i in range(len(users)):
        user = users[i]
        for k in range(slates.shape[1]):
            video, p = slates[i, k], rate[slates[i, k]]
            place = rows.shown[user] % RING
            rows.video[user, place], rows.expected[user, place] = video, p
            rows.clicked[user, place], rows.at[user, place] = clicked[i, k], shown_at[i, k]
            rows.shown[user] += 1
            rows.expected_clicks[user] += p
            _decay(rows, user, shown_at[i, k], user_half_life)
            rows.decayed[user, 0] += 1.0
            rows.decayed[user, 2] += p
            late, weight = _weight(shown_at[i, k], midnight_us, video_half_life)
            events.exposures[late, video] += 1
            events.weighted_exposures[late, video] += weight
            events.last_us[late, video] = max(events.last_us[late, video], shown_at[i, k])
            if clicked[i, k]:
                rows.at[user, place] = clicked_at[i, k]
                rows.clicks[user] += 1
                _decay(rows, user, clicked_at[i, k], user_half_life)
                rows.decayed[user, 1] += 1.0
                late, weight = _weight(clicked_at[i, k], midnight_us, video_half_life)
                events.clicks[late, video] += 1
                events.weighted_clicks[late, video] += weight
                events.last_us[late, video] = max(events.last_us[late, video], clicked_at[i, k])


@kernel
def _decay(rows: UserRows, user: int, at_us: int, half_life: float) -> None:
    """Bring a user's decayed counts to a time."""
    factor = 0.5 ** ((at_us - rows.decayed_at[user]) / half_life)
    for j in range(3):
        rows.decayed[user, j] *= factor
    rows.decayed_at[user] = at_us


@kernel
def _weight(at_us: int, midnight_us: int, half_life: float) -> tuple[int, np.int64]:
    """Row of the events that one at this time is in, and its weight there in parts."""
    late = 1 if at_us >= midnight_us + DAY else 0
    start = midnight_us + late * DAY
    return late, np.int64(np.rint(2.0 ** ((at_us - start) / half_life) * UNIT))
