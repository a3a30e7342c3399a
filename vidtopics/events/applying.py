"""Applying what streams hold to a generation: scripts that go on from where the last one ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import count
from typing import Any

from redis.exceptions import ResponseError

from vidtopics.events.calls import call_each
from vidtopics.events.generations import Generation, parts_of
from vidtopics.events.scripts import APPLY_USERS, APPLY_VIDEOS, CLOSED
from vidtopics.layout.live import LiveKeys, Part
from vidtopics.online.connections import Connection

ENTRIES = 400
"""Entries that one call applies; Redis does nothing else for a few milliseconds."""
MOST_RECENT = 10_000
"""Of a user's list, however long `recall.recent_clicks` is: a record's number has 16 bits."""
SCRIPTS: dict[Part, str] = {"video": APPLY_VIDEOS, "user": APPLY_USERS}


class Applier:
    """Applies entries under one prefix; any number of them may work at the same time.

    Args:
        connection: a server or a cluster.
        keys: of the prefix.
        recent: how long lists of a user's clicks and skips are (`recall.recent_clicks`).
        max_ahead: how far an event may lie ahead of its entry (`online.max_ahead`).
        half_life: of videos' decayed clicks (`statistics.half_life`).
    """

    def __init__(
        self,
        connection: Connection,
        keys: LiveKeys,
        *,
        recent: int,
        max_ahead: timedelta,
        half_life: timedelta = timedelta(days=7),
    ) -> None:
        self.connection, self.keys = connection, keys
        self.recent, self.ahead_us = recent, max_ahead // timedelta(microseconds=1)
        self.half_life_us = half_life // timedelta(microseconds=1)

    def apply(self, generation: Generation, *, rounds: int | None = None) -> int:
        """Apply all that the streams hold now, or what `rounds` calls take; how many entries.

        Entries that come meanwhile are left for the next call where the streams never end. A
        generation that was dropped takes nothing.

        Raises:
            redis.exceptions.RedisError: a server can't be reached or refuses; call again.
        """
        waiting = self._waiting(generation)
        applied, numbers = 0, count() if rounds is None else iter(range(rounds))
        while waiting and next(numbers, None) is not None:
            counts = self._round(generation, waiting)
            applied += sum(counts.values())
            waiting = {
                where: waiting[where] - taken
                for where, taken in counts.items()
                if taken == ENTRIES and waiting[where] > taken
            }
        return applied

    def _waiting(self, generation: Generation) -> dict[tuple[Part, int], int]:
        """The streams that end beyond the generation's cursor, and how many entries they have.

        What was applied stays in them, so that their length alone doesn't say it.
        """
        places = list(parts_of(self.keys))
        with self.connection.pipeline(transaction=False) as pipe:
            for part, bucket in places:
                pipe.xrevrange(self.keys.stream(part, bucket), count=1)
                pipe.xlen(self.keys.stream(part, bucket))
                pipe.hget(self.keys.state(generation.release, part, "at", bucket), "cursor")
            answers = iter(pipe.execute())
        return {
            where: length
            for where, newest, length, cursor in zip(places, answers, answers, answers, strict=True)
            if newest and newest[0][0] != cursor
        }

    def _round(
        self, generation: Generation, places: Iterable[tuple[Part, int]]
    ) -> dict[tuple[Part, int], int]:
        """One call for each place; the entries that it took."""
        calls = {where: self._call(generation, *where) for where in places}
        scripts = [(SCRIPTS[part], call) for (part, _), call in calls.items()]
        answers = call_each(self.connection, scripts)
        return {
            where: 0 if _is_closed(answer) else _number(answer)
            for where, answer in zip(calls, answers, strict=True)
        }

    def _call(self, generation: Generation, part: Part, bucket: int) -> list[Any]:
        keys = [
            self.keys.stream(part, bucket),
            *self.keys.generation(generation.release, part, bucket),
        ]
        own = self.half_life_us if part == "video" else min(self.recent, MOST_RECENT)
        return [len(keys), *keys, generation.as_of_us, ENTRIES, self.ahead_us, own]


def _is_closed(answer: Any) -> bool:
    return isinstance(answer, ResponseError) and str(answer).startswith(CLOSED)


def _number(answer: Any) -> int:
    if isinstance(answer, Exception):
        raise answer
    return int(answer)
