"""`user_statistics`, `user_recent_clicks` and `user_recent_skips` with a user's events."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from consumers.live.events import Ints, UserEvents
from consumers.live.rows import number, with_values
from vidtopics.layout.live import UserState
from vidtopics.online import Features
from vidtopics.online.live import clicks_of, skips_of

Floats = NDArray[np.float64]
DECAYED_AT = "user_decayed_at"


def halved(us: Ints | int, at_us: int, half_life_us: int) -> Floats:
    """What an event of a time counts at a later one: 0.5 ** ((at - us) / half-life).

    >>> halved(np.array([0, 10]), 20, 10).tolist()
    [0.25, 0.5]
    """
    return np.power(0.5, (at_us - np.asarray(us, np.float64)) / half_life_us)


def with_statistics(
    rows: Features,
    state: UserState,
    events: UserEvents,
    expected: Floats,
    *,
    lost_rate: float,
    since_us: int,
    half_life_us: int,
) -> Features:
    """The only row of `user_statistics` with the events since.

    Exposures and clicks are exact. Decayed counts hold at the last event, `user_decayed_at`. Of
    events whose records went, `lost_rate` is expected, and they decay from the release on.

    Args:
        rows: the release's row, present or not.
        state: the user's, for the counts.
        events: its E impressions and clicks.
        expected: float64[E], the expected clicks of each impression.
        lost_rate: of an impression without a record.
        since_us: the release's as-of time.
        half_life_us: `users.half_life`.
    """
    last_us = int(number(rows, DECAYED_AT))
    at_us = max(last_us, events.last_us)
    shown, clicked = (
        halved(us, at_us, half_life_us) for us in (events.shown_us, events.clicked_us)
    )
    lost, earlier = (float(halved(us, at_us, half_life_us)) for us in (since_us, last_us))
    recent = {
        "exposures": shown.sum() + lost * events.lost_exposures,
        "clicks": clicked.sum() + lost * events.lost_clicks,
        "expected": (shown * expected).sum() + lost * events.lost_exposures * lost_rate,
    }
    sums = {
        "user_exposures": state.exposures,
        "user_clicks": state.clicks,
        "user_expected_clicks": expected.sum() + events.lost_exposures * lost_rate,
    }
    values = {name: number(rows, name) + more for name, more in sums.items()}
    for name, more in recent.items():
        column = f"user_decayed_{name}"
        values[column] = number(rows, column) * earlier + more
    return with_values(rows, values | {DECAYED_AT: at_us}, since_us)


def with_clicks(rows: Features, state: UserState, since_us: int) -> Features:
    """The only row of `user_recent_clicks`: each video once at its last click, newest first."""
    clicks = state.recent_clicks(clicks_of(_if_present(rows)))
    if not clicks:
        return rows
    values = {
        "recent_video_ids": [click.video.decode() for click in clicks],
        "recent_times": np.array([click.us for click in clicks], np.int64),
        "recent_watch_seconds": np.array([click.watch for click in clicks], np.float32),
    }
    return with_values(rows, values, since_us)


def with_skips(rows: Features, state: UserState, since_us: int) -> Features:
    """The only row of `user_recent_skips`: newest first, without what was clicked since."""
    skips = state.recent_skips(skips_of(_if_present(rows)))
    if not skips and not rows.present[0]:
        return rows
    values = {
        "skipped_video_ids": [skip.video.decode() for skip in skips],
        "skipped_times": np.array([skip.us for skip in skips], np.int64),
        "skipped_positions": np.array([skip.position for skip in skips], np.int32),
    }
    return with_values(rows, values, since_us)


def _if_present(rows: Features) -> Features | None:
    return rows if cast("bool", rows.present[0]) else None
