"""Applying what streams hold to a generation: scripts that go on from where the last one ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from hashlib import sha1
from itertools import count
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

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
        warn: takes a line about each entry that was set aside.
    """

    def __init__(
        self,
        connection: Connection,
        keys: LiveKeys,
        *,
        recent: int,
        max_ahead: timedelta,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.connection, self.keys, self.warn = connection, keys, warn
        self.recent, self.ahead_us = recent, max_ahead // timedelta(microseconds=1)

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
        with self.connection.pipeline(transaction=False) as pipe:
            for (part, _), call in calls.items():
                pipe.execute_command("EVALSHA", _digest(part), *call)
            answers = pipe.execute(raise_on_error=False)
        counts = {}
        for (where, call), answer in zip(calls.items(), answers, strict=True):
            result = answer
            if isinstance(answer, NoScriptError):  # a server that was started since
                result = self._eval(SCRIPTS[where[0]], call)
            try:
                counts[where] = (
                    self._around_faults(generation, *where) if is_fault(result) else _number(result)
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
            return _number(self._eval(SCRIPTS[part], call))

        def set_aside(fault: ResponseError) -> int:
            stream, at = self._call(generation, part, bucket)[1:3]
            call = [2, stream, at, generation.as_of_us, cursor]
            entry = passed(self._eval(SET_ASIDE, call))
            if entry:
                self.warn(f"entry {entry} of {stream} was set aside, no script applies it: {fault}")
            return bool(entry)

        return apply_around(run, set_aside, ENTRIES)

    def _eval(self, script: str, call: list[Any]) -> Any:
        try:
            connection: Any = self.connection  # redis-py has no types for it
            return connection.execute_command("EVAL", script, *call)
        except ResponseError as error:
            return error

    def _call(
        self, generation: Generation, part: Part, bucket: int, entries: int | None = None
    ) -> list[Any]:
        keys = [
            self.keys.stream(part, bucket),
            *self.keys.generation(generation.release, part, bucket),
        ]
        recent = min(self.recent, MOST_RECENT)
        return [len(keys), *keys, generation.as_of_us, entries or ENTRIES, self.ahead_us, recent]


def _is_closed(answer: Any) -> bool:
    return isinstance(answer, ResponseError) and str(answer).startswith(CLOSED)


def _number(answer: Any) -> int:
    """Entries that a script took; none of a generation that is closed."""
    if _is_closed(answer):
        return 0
    if isinstance(answer, Exception):
        raise answer
    return int(answer)


@cache
def _digest(part: Part) -> str:
    """How Redis names a script."""
    return sha1(SCRIPTS[part].encode(), usedforsecurity=False).hexdigest()
