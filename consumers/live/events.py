"""A user's events since the release, from the records that they left."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.layout.live import CLICKED, SHOWN, TAKEN_OUT, Record, UserState

Ints = NDArray[np.int64]


class UserEvents(NamedTuple):
    """E impressions and C clicks, and how many more there were.

    Attributes:
        shown: videos of the impressions.
        shown_us: int64[E], when; of an impression that its click brought along the click's time.
        clicked: videos of the clicks.
        clicked_us: int64[C], when.
        lost_exposures: impressions whose records went, as a user past five lists' length is folded.
        lost_clicks: clicks, likewise.
    """

    shown: list[str]
    shown_us: Ints
    clicked: list[str]
    clicked_us: Ints
    lost_exposures: int
    lost_clicks: int

    @property
    def videos(self) -> list[str]:
        """The videos of all events, each once, in the order in which they come."""
        return list(dict.fromkeys([*self.shown, *self.clicked]))

    @property
    def last_us(self) -> int:
        """The time of the newest event; 0 where there is none."""
        return int(max(self.shown_us.max(initial=0), self.clicked_us.max(initial=0)))


def events_of(state: UserState) -> UserEvents:
    """The events that a user's records tell.

    An impression has a record of its own or came along with its click; of clicks on impressions of
    before the release, as many of a video as were taken out of its skips (its first ones), the
    impression is the release's.

    >>> records = (Record(SHOWN, 5, -1, 1, b"v", b"a"), Record(CLICKED, 7, -1, 1, b"v", b"a"))
    >>> records += (Record(CLICKED, 9, -1, 1, b"w", b"b"),)
    >>> events_of(UserState(2, 2, 0, 8, records))[:4]
    (['v', 'w'], array([5, 9]), ['v', 'w'], array([7, 9]))
    """
    shown = [record for record in state.records if record.kind == SHOWN]
    clicks = _clicks(state)
    own = {record.event for record in shown}
    before = Counter(record.video for record in state.records if record.kind == TAKEN_OUT)
    for click in sorted(clicks, key=lambda record: record.us):
        if click.event in own:
            continue
        if before[click.video]:
            before[click.video] -= 1
        else:
            shown.append(click)
    return UserEvents(
        [record.video.decode() for record in shown],
        np.array([record.us for record in shown], np.int64),
        [record.video.decode() for record in clicks],
        np.array([record.us for record in clicks], np.int64),
        max(state.exposures - len(shown), 0),
        max(state.clicks - len(clicks), 0),
    )


def _clicks(state: UserState) -> list[Record]:
    """Each click once: its watch left a record too; folded ones have lost their event's id."""
    by_event: dict[bytes, Record] = {}
    folded = []
    for record in state.records:
        if record.kind == CLICKED and record.event:
            by_event.setdefault(record.event, record)
        elif record.kind == CLICKED:
            folded.append(record)
    return [*folded, *by_event.values()]
