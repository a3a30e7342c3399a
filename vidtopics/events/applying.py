"""Applying what streams hold to a generation: scripts that go on from where the last one ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import count
from typing import Any

from redis.exceptions import ResponseError

from vidtopics.events.calls import call_each
from vidtopics.events.faults import SET_ASIDE, apply_around, is_fault, passed
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
        warn: takes a line about each entry that was set aside.
    """

    def __init__(
        self,
        connection: Connection,
        keys: LiveKeys,
        *,
        recent: int,
        max_ahead: timedelta,
        half_life: timedelta = timedelta(days=7),
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.connection, self.keys, self.warn = connection, keys, warn
        self.recent, self.ahead_us = recent, max_ahead // timedelta(microseconds=1)
        self.half_life_us = half_life // timedelta(microseconds=1)

    def apply(self, generation: Generation, *, rounds: int | None = None) -> int:
        """Apply all that the streams hold now, or what `rounds` calls take; how many entries.

        Entries that come meanwhile are left for the next call where the streams never end. A
        generation that was dropped takes nothing. A stream that fails holds up no other one.

        Raises:
            redis.exceptions.RedisError: a server can't be reached or refuses; call again.
        """
        failures: list[Exception] = []
        waiting = self._waiting(generation)
        applied, numbers = 0, count() if rounds is None else iter(range(rounds))
        while waiting and next(numbers, None) is not None:
            counts = self._round(generation, waiting, failures)
            applied += sum(counts.values())
            waiting = {
                where: waiting[where] - taken
                for where, taken in counts.items()
                if taken >= ENTRIES and waiting[where] > taken
            }
        if failures:
            raise failures[0]
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
        self,
        generation: Generation,
        places: Iterable[tuple[Part, int]],
        failures: list[Exception],
    ) -> dict[tuple[Part, int], int]:
        """One call for each place; the entries that it took. What failed is added to a list."""
        calls = {where: self._call(generation, *where) for where in places}
        scripts = [(SCRIPTS[part], call) for (part, _), call in calls.items()]
        counts = {}
        for where, answer in zip(calls, call_each(self.connection, scripts), strict=True):
            try:
                counts[where] = (
                    self._around_faults(generation, *where) if is_fault(answer) else _number(answer)
                )
            except ResponseError as error:
                counts[where] = 0
                failures.append(error)
        return counts

    def _around_faults(self, generation: Generation, part: Part, bucket: int) -> int:
        """Apply entries of a place of which some can't be; how many it took."""
        cursor = ""

        def run(entries: int) -> int:
            nonlocal cursor
            call = self._call(generation, part, bucket, entries)
            stored: Any = self.connection.hget(call[2], "cursor")
            cursor = stored.decode() if stored else ""
            [answer] = call_each(self.connection, [(SCRIPTS[part], call)])
            return _number(answer)

        def set_aside(fault: ResponseError) -> int:
            stream, at = self._call(generation, part, bucket)[1:3]
            call = [2, stream, at, generation.as_of_us, cursor]
            [answer] = call_each(self.connection, [(SET_ASIDE, call)])
            entry = passed(answer)
            if entry:
                self.warn(f"entry {entry} of {stream} was set aside, no script applies it: {fault}")
            return bool(entry)

        return apply_around(run, set_aside, ENTRIES)

    def _call(
        self, generation: Generation, part: Part, bucket: int, entries: int | None = None
    ) -> list[Any]:
        keys = [
            self.keys.stream(part, bucket),
            *self.keys.generation(generation.release, part, bucket),
        ]
        own = self.half_life_us if part == "video" else min(self.recent, MOST_RECENT)
        return [len(keys), *keys, generation.as_of_us, entries or ENTRIES, self.ahead_us, own]


def _is_closed(answer: Any) -> bool:
    return isinstance(answer, ResponseError) and str(answer).startswith(CLOSED)


def _number(answer: Any) -> int:
    """Entries that a script took; none of a generation that is closed."""
    if _is_closed(answer):
        return 0
    if isinstance(answer, Exception):
        raise answer
    return int(answer)
