"""What requests saw of events, against the log of events that the tables are made of.

Live counts have no rows to be held to, but their events land. So what a request saw of a user and
of its candidates must be the landed events since the release's T that Redis had taken by then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from consumers.live import LivePart
from consumers.live.folding import USER_VIEWS
from consumers.live.part import NOTHING
from vidtopics.contracts import CLICKS, CREATED_TIME, EVENT_TIME, IMPRESSIONS, VIDEO_STATISTICS
from vidtopics.layout.live import CLICKED, SHOWN, UserState
from vidtopics.tables import Tables
from vidtopics.timestamps import microseconds

IN_FLIGHT = timedelta(seconds=10)
"""What Redis took this long before the request was logged must have been seen."""
CLOCKS = timedelta(seconds=1)
"""By how much the log's clock may be behind that of Redis."""
COLUMNS = ("event_id", "user_id", "video_id", EVENT_TIME, CREATED_TIME)
MICROSECOND = timedelta(microseconds=1)
Taken = Mapping[str, NDArray[np.int64]]
NONE = np.zeros(0, np.int64)
DAMAGED = "live: the user's value was damaged, so the answer is the release's alone"


@dataclass(frozen=True)
class _Events:
    """Landed events of one kind since a time: when Redis took them, and which there are.

    Attributes:
        of_user: by user the times at which Redis took the events, ascending.
        of_video: by video, likewise.
        ids: the events' ids.
    """

    of_user: Taken
    of_video: Taken
    ids: frozenset[str]

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        """From rows of `impressions` or `clicks`."""
        taken_us = microseconds(rows[CREATED_TIME])
        by_user, by_video = (_by(rows[name], taken_us) for name in ("user_id", "video_id"))
        return cls(by_user, by_video, frozenset(rows["event_id"].to_pylist()))


def _by(names: pa.ChunkedArray, taken_us: NDArray[np.int64]) -> Taken:
    encoded = names.combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    order = np.lexsort((taken_us, codes))
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    groups = np.split(taken_us[order], bounds) if len(order) else []
    return dict(zip(encoded.dictionary.to_pylist(), groups, strict=True))


class LiveLog:
    """The landed events of a home, read once for each release's T."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._since: dict[int, tuple[_Events, _Events]] = {}

    def differences(
        self, user_id: str, part: LivePart, candidates: Sequence[str], logged_us: int
    ) -> list[str]:
        """In words, what a request saw otherwise than the log has it.

        Args:
            user_id: the request's.
            part: what it saw.
            candidates: the videos whose counts it saw, also those that had none.
            logged_us: when it was logged.
        """
        lines = [*self._of_user(user_id, part, logged_us)]
        since_us = part.view_since_us(VIDEO_STATISTICS.name)
        if since_us is not None:
            lines += self._of_videos(part, candidates, since_us, logged_us)
        return lines

    def _of_user(self, user_id: str, part: LivePart, logged_us: int) -> Iterator[str]:
        if part.is_damaged:
            yield DAMAGED
            return
        for release in sorted({r for view, r in part.releases.items() if view in USER_VIEWS}):
            if release not in part.since_us:
                continue
            value = part.states.get(release)
            state = value.state if value else NOTHING
            impressions, clicks = self._events(part.since_us[release])
            for what, number, events in (
                ("impressions", state.exposures, impressions),
                ("clicks", state.clicks, clicks),
            ):
                low, high = _bounds(events.of_user.get(user_id, NONE), logged_us)
                if not low <= number <= high:
                    yield f"live: {number} {what} of the user, {_in_words(low, high)}"
            yield from _unknown(state, impressions, clicks)

    def _of_videos(
        self, part: LivePart, candidates: Sequence[str], since_us: int, logged_us: int
    ) -> Iterator[str]:
        wrong = []
        for video in candidates:
            pairs = zip(part.counts.get(video, (0, 0)), self._events(since_us), strict=True)
            for number, events in pairs:
                low, high = _bounds(events.of_video.get(video, NONE), logged_us)
                if not low <= number <= high:
                    wrong.append(f"{video}: {number}, {_in_words(low, high)}")
        if wrong:
            yield f"live: {len(wrong)} counts of candidates, {wrong[0]}"

    def _events(self, since_us: int) -> tuple[_Events, _Events]:
        """Impressions and clicks whose own time isn't before a release's T."""
        if since_us not in self._since:
            where = ds.field(EVENT_TIME) >= pa.scalar(since_us, pa.timestamp("us", "UTC"))
            tables = (
                self._tables.read(table, columns=COLUMNS, where=where)
                for table in (IMPRESSIONS, CLICKS)
            )
            impressions, clicks = map(_Events.of, tables)
            self._since = {since_us: (impressions, clicks)}
        return self._since[since_us]


def _unknown(state: UserState, impressions: _Events, clicks: _Events) -> Iterator[str]:
    """The records whose event never landed, the first of them named."""
    known = {SHOWN: impressions.ids, CLICKED: clicks.ids}
    named = [
        record.event.decode()
        for record in state.records
        if record.event and record.event.decode() not in known.get(record.kind, ())
    ]
    if named:
        yield f"live: {len(named)} events of the user that didn't land, {named[0]}"


def _bounds(taken_us: NDArray[np.int64], logged_us: int) -> tuple[int, int]:
    """How many events a request must, and may have seen."""
    seen = (logged_us - IN_FLIGHT // MICROSECOND, logged_us + CLOCKS // MICROSECOND)
    low, high = np.searchsorted(taken_us, seen, side="right").tolist()
    return low, high


def _in_words(low: int, high: int) -> str:
    return f"the log has {low}" if low == high else f"the log has {low} to {high}"
