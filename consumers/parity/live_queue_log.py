"""The queues that requests saw, against what the paper's rule says of the landed events.

Queues move some seconds behind events, so a list is held exactly where the events of the last
seconds change nothing in it; else its videos must be members of the queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import pyarrow as pa
import pyarrow.dataset as ds

from consumers.live import LivePart
from consumers.parity.live_log import CLOCKS, IN_FLIGHT, MICROSECOND
from vidtopics.contracts import CLICKS, CREATED_TIME, EVENT_TIME, IMPRESSIONS, VIDEO_STATISTICS
from vidtopics.events.generations import Generation
from vidtopics.layout.live import VideoState
from vidtopics.materialization.live_queues import LoadOrdering, Ordering
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release
from vidtopics.timestamps import microseconds

BEHIND = IN_FLIGHT + timedelta(seconds=20)
"""Events that Redis took this long before the request must have moved the queues."""
Moved = tuple[Ordering, tuple[pa.Table, pa.Table]]
"""A release's members, and the impressions and clicks that move them."""


class LiveQueueLog:
    """The queues of a home's releases as landed events move them; a release is read once.

    Args:
        tables: the home's.
        half_life: of decayed clicks (`statistics.half_life`).
        load: reads members, as the consumer of events does.
    """

    def __init__(self, tables: Tables, half_life: timedelta, load: LoadOrdering) -> None:
        self._tables, self._read_members = tables, load
        self._half_life_us = half_life / MICROSECOND
        self._loaded: dict[tuple[int, Generation], Moved] = {}

    def differences(self, part: LivePart, release: Release, logged_us: int) -> list[str]:
        """In words, which lists a request saw otherwise than the log has them.

        Args:
            part: what it saw.
            release: that was live.
            logged_us: when it was logged.

        Raises:
            TableError: a table of the release can't be read any more.
        """
        number = part.releases.get(VIDEO_STATISTICS.name, 0)
        since_us = part.since_us.get(number)
        if not part.queues or since_us is None:
            return []
        key = release.release_id, Generation(number, since_us)
        if key not in self._loaded:
            self._loaded = {key: self._load(release, key[1])}
        ordering, rows = self._loaded[key]
        names = {name.partition(":")[0] for name in part.queues}
        bounds_us = logged_us - BEHIND // MICROSECOND, logged_us + CLOCKS // MICROSECOND
        earlier, later = (
            self._lists(ordering, rows, names, since_us, until_us) for until_us in bounds_us
        )
        wrong = [*_wrong(part.queues, earlier, later)]
        return [f"live: {len(wrong)} queues, {wrong[0]}"] if wrong else []

    def _load(self, release: Release, generation: Generation) -> Moved:
        since = pa.scalar(generation.as_of_us, pa.timestamp("us", "UTC"))
        columns = ("video_id", EVENT_TIME, CREATED_TIME)
        impressions, clicks = (
            self._tables.read(table, columns=columns, where=ds.field(EVENT_TIME) >= since)
            for table in (IMPRESSIONS, CLICKS)
        )
        return self._read_members(self._tables, release, generation), (impressions, clicks)

    def _lists(
        self,
        ordering: Ordering,
        rows: tuple[pa.Table, pa.Table],
        names: set[str],
        since_us: int,
        until_us: int,
    ) -> dict[str, list[str]]:
        """The queues of these names by all events that Redis had taken by then."""
        states: dict[str, list[float]] = {}
        for place, table in enumerate(rows):
            taken, own = microseconds(table[CREATED_TIME]), microseconds(table[EVENT_TIME])
            weights = 2.0 ** ((own - since_us) / self._half_life_us)
            for video, weight, seen in zip(
                table["video_id"].to_pylist(), weights, taken <= until_us, strict=True
            ):
                state = states.setdefault(video, [0.0, 0.0, 0.0])
                if seen:
                    state[place] += 1
                    state[2] += place * weight
        ordering.update(
            {
                video.encode(): VideoState(int(shown), int(clicked), decayed)
                for video, (shown, clicked, decayed) in states.items()
            }
        )
        lists = ordering.lists(names)
        return {name: [video.decode() for video in videos] for name, videos in lists.items()}


def _wrong(
    seen: Mapping[str, Sequence[str]],
    earlier: Mapping[str, list[str]],
    later: Mapping[str, list[str]],
) -> Iterator[str]:
    """The lists that neither stand still as they were seen, nor have their queue's members alone.

    >>> now = {"7": ["a", "b", "c"]}
    >>> list(_wrong({"7": ["b", "a"]}, now, now))
    ["7: 'b' at place 1, the log has 'a'"]
    >>> list(_wrong({"7": ["b", "a"]}, now, {"7": ["b", "a", "c"]}))
    []
    >>> list(_wrong({"7": ["b", "x"]}, now, {"7": ["b", "a", "c"]}))
    ["7: 'x', which is no member"]
    """
    for name, videos in seen.items():
        expected = earlier.get(name, [])[: len(videos)]
        if expected == later.get(name, [])[: len(videos)]:
            pairs = enumerate(zip(videos, [*expected, *[None] * len(videos)], strict=False), 1)
            other = next((trio for trio in pairs if trio[1][0] != trio[1][1]), None)
            if other:
                place, (video, due) = other
                yield f"{name}: {video!r} at place {place}, the log has {due!r}"
            continue
        queue = name.partition(":")[0]
        members = {
            video
            for lists in (earlier, later)
            for key in (queue, f"{queue}:fresh")
            for video in lists.get(key, [])
        }
        stranger = next((video for video in videos if video not in members), None)
        if stranger is not None:
            yield f"{name}: {stranger!r}, which is no member"
