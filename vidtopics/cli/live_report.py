"""What `vidtopics demo --live` says of a day while it is played."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vidtopics.cli.show import as_text, out
from vidtopics.times import moment

if TYPE_CHECKING:
    from vidtopics.cli.live_processes import Running
    from vidtopics.simulation.live_day import DayUnderPolicy
    from vidtopics.simulation.playing import Played

TOPICS, HEAD = 5, 50
"""Topics whose queues a line is about, those that were recommended most, and places of each."""
LATE_S = 1.0
"""Behind their time by more, requests are worth a word: the machine is too slow for the speed."""


class Move(NamedTuple):
    """A video that took another place in a queue; places count from 1."""

    topic: int
    video: str
    before: int
    after: int


class Report:
    """Prints a line now and then, and the day's result.

    Args:
        service: that the day is played into.
        production: the same day under production.
    """

    def __init__(self, service: Running, production: DayUnderPolicy) -> None:
        self._service, self._production = service, production
        self._heads: dict[int, Sequence[str]] = {}
        self._last = (time.monotonic(), _events(service.calls.status()))
        self._first = self._last[1]

    def line(self, played: Played) -> None:
        """How it goes: the world's clock, events, lag, click rates, queues."""
        self._service.check()
        status, now = self._service.calls.status(), time.monotonic()
        events, (before, counted) = _events(status), self._last
        self._last = now, events
        lag = max(status[part]["lag_ms"] or 0 for part in ("video", "user"))
        parts = [
            moment(played.clock_us)[11:16],
            f"{events - self._first:,} events",
            f"{(events - counted) / (now - before):.0f}/s",
            f"lag {lag:,} ms",
            rates(played, self._production.until(played.clock_us)),
            self._queues(played),
        ]
        parts += [f"requests {played.late_s:.1f} s late"] if played.late_s > LATE_S else []
        out.print(as_text("  ".join(parts)), soft_wrap=True)

    def _queues(self, played: Played) -> str:
        found = list[Move]()
        for topic, _ in played.topics.most_common(TOPICS):
            head = self._service.calls.queue(topic, HEAD)
            found += moves(topic, self._heads.get(topic, head), head)
            self._heads[topic] = head
        return in_words(found)

    def end(self, played: Played, midnight_us: int) -> None:
        """The result of the day that began at a midnight, once all of its events were sent."""
        text = (
            f"{moment(midnight_us)[:10]}: {played.requests:,} slates, {played.impressions:,}"
            f" impressions, {played.clicks:,} clicks, "
        )
        text += rates(played, self._production.until(played.clock_us))
        out.print(as_text(text), soft_wrap=True)


def _events(status: Mapping[str, Any]) -> int:
    """Events that were applied since the release."""
    return sum(n for outcome, n in status["user"]["entries"].items() if outcome != "implied")


def rates(played: Played, production: tuple[int, int]) -> str:
    """Click rates so far.

    >>> from vidtopics.simulation.playing import Played
    >>> rates(Played(0, impressions=50, clicks=20), (40, 10)), rates(Played(0), (0, 0))
    ('CTR 0.400 (production 0.250)', 'CTR - (production -)')
    """
    pairs = ((played.impressions, played.clicks), production)
    texts = [f"{clicks / shown:.3f}" if shown else "-" for shown, clicks in pairs]
    return f"CTR {texts[0]} (production {texts[1]})"


def moves(topic: int, before: Sequence[str], after: Sequence[str]) -> list[Move]:
    """Videos whose place in a queue's head has changed, of those that were in both.

    >>> moves(3, ["a", "b", "c"], ["c", "b", "d"])
    [Move(topic=3, video='c', before=3, after=1)]
    """
    places = {video: place for place, video in enumerate(before, 1)}
    return [
        Move(topic, video, places[video], place)
        for place, video in enumerate(after, 1)
        if places.get(video, place) != place
    ]


def in_words(found: Sequence[Move]) -> str:
    """How many moved, and which went up most.

    >>> in_words([Move(3, "a", 1, 2), Move(3, "c", 9, 1)])
    'queues: 2 places changed, topic 3: c from 9 to 1'
    >>> in_words([])
    'queues: as they were'
    """
    if not found:
        return "queues: as they were"
    most = max(found, key=lambda move: move.before - move.after)
    went = f"topic {most.topic}: {most.video} from {most.before} to {most.after}"
    return f"queues: {len(found):,} places changed, {went}"
