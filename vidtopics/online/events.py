"""Sending events: impressions, clicks and watches, each acknowledged once Redis has all of it.

::

    from vidtopics.online.events import EventClient

    client = EventClient.from_url("redis://localhost:6379")
    client.send([{"kind": "click", "event_id": "e7", "user_id": "u1", "video_id": "v1",
                  "event_timestamp": shown_at, "clicked_at": clicked_at}])

What was sent twice counts once, so whoever isn't sure sends again.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import redis
import redis.asyncio
from redis.exceptions import BusyLoadingError, ClusterDownError, TryAgainError

from vidtopics.errors import StoreError, explain
from vidtopics.layout import place
from vidtopics.layout.live import LiveKeys
from vidtopics.online.connections import (
    MAX_CONNECTIONS,
    TIMEOUT_S,
    AsyncCluster,
    AsyncConnection,
    Connection,
    check_connection,
    connect,
    connect_async,
)
from vidtopics.online.drivers import drive, drive_async
from vidtopics.online.event_rules import MAX_AHEAD, Event, RefusedError, check, shown

BATCH = 500
"""Events of one message; each is two entries."""
PATIENCE_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
DEAD_LETTERS = 100_000
"""Refused events that Redis keeps at most, about, until they have landed."""
AGAIN = (
    redis.ConnectionError,
    redis.TimeoutError,
    BusyLoadingError,
    ClusterDownError,
    TryAgainError,
)
"""What passes; anything else is raised at once."""
C = TypeVar("C", Connection, AsyncConnection)
Command = tuple[Any, ...]
Letter = tuple[str, ...]
"""The fields of a dead letter."""
Message = Sequence[Command] | float
"""Commands of one round trip, or seconds to wait."""
Sending = Generator[Message, Any, "Sent"]


class Placed(NamedTuple):
    """An event and where it was read (an offset, a file), which the detail of a refusal names.

    In the place of an event that can't be read stands its RefusedError.
    """

    event: object
    place: str


@dataclass(frozen=True)
class Refusal:
    """An event that broke a rule: its number in the call, the reason, expected and found."""

    number: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Sent:
    """What became of the events of a call: how many are acknowledged, and which were refused."""

    acknowledged: int
    refused: tuple[Refusal, ...] = ()


class NotAcknowledgedError(StoreError):
    """Redis didn't take all events; the first `acknowledged` of the call need not be sent again."""

    def __init__(self, prefix: str, total: int, acknowledged: int, cause: object) -> None:
        super().__init__(
            explain(
                f"Redis, prefix {prefix!r}, {total} events",
                expected="an acknowledgement of each",
                found=f"{acknowledged} acknowledged ({type(cause).__name__}: {cause})",
                mend="send the others again; what was sent twice counts once",
            )
        )
        self.acknowledged = acknowledged


class _Events(Generic[C]):
    """What both clients do, without the waiting."""

    _connect: ClassVar[Any]
    _kinds: ClassVar[tuple[type, ...]]

    def __init__(
        self,
        connection: C,
        *,
        prefix: str = "vt",
        patience_s: float = PATIENCE_S,
        max_ahead: timedelta = MAX_AHEAD,
    ) -> None:
        check_connection(connection, self._kinds)
        self.connection: C = connection
        self.prefix = prefix
        self._patience_s, self._max_ahead = patience_s, max_ahead
        self._layout: bytes | None = None
        self._layout_command = ("GET", place(prefix, "layout"))

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "vt",
        timeout_s: float = TIMEOUT_S,
        max_connections: int = MAX_CONNECTIONS,
        patience_s: float = PATIENCE_S,
    ) -> Self:
        """A client with a connection pool of its own; see :func:`vidtopics.online.connect`.

        `patience_s`: for how long a batch is sent again where Redis doesn't answer.
        """
        connection = cls._connect(url, timeout_s=timeout_s, max_connections=max_connections)
        return cls(connection, prefix=prefix, patience_s=patience_s)

    def _send(self, events: Iterable[object], until: float = math.inf) -> Sending:
        if self._layout is None:
            yield from self._take_layout()
        acknowledged: int = 0
        refused: list[Refusal] = []
        waiting = enumerate(events)
        while numbered := list(islice(waiting, BATCH)):
            total = numbered[-1][0] + 1
            checked = [self._checked(number, event, refused) for number, event in numbered]
            try:
                if time.monotonic() >= until:
                    raise TimeoutError("the time of the call has passed")
                yield from self._put(checked)
            except (redis.RedisError, OSError) as error:
                raise NotAcknowledgedError(self.prefix, total, acknowledged, error) from error
            acknowledged = total
        return Sent(acknowledged - len(refused), tuple(refused))

    def _checked(self, number: int, event: object, refused: list[Refusal]) -> Event | Letter:
        plain, place = event if isinstance(event, Placed) else (event, "")
        try:
            if isinstance(plain, RefusedError):
                raise plain
            return check(plain, max_ahead=self._max_ahead)
        except RefusedError as error:
            detail = f"{place}: {error.detail}" if place else error.detail
            refused.append(Refusal(number, error.reason, detail))
            return ("reason", error.reason, "detail", detail, "event", _text(plain))

    def _put(self, checked: Sequence[Event | Letter]) -> Generator[Message, Any, None]:
        """Add a batch; once more where the prefix was emptied and filled with other buckets."""
        while True:
            layout = self._layout
            keys = LiveKeys.of(self.prefix, layout)
            commands: list[Command] = [c for one in checked for c in _entries(keys, one)]
            answers = yield from self._acknowledged([*commands, self._layout_command])
            self._layout = answers[-1]
            if self._layout == layout:
                return

    def _take_layout(self) -> Generator[Message, Any, None]:
        [text] = yield from self._acknowledged([self._layout_command])
        LiveKeys.of(self.prefix, text)
        self._layout = text

    def _acknowledged(self, commands: Sequence[Command]) -> Generator[Message, Any, list[Any]]:
        """The answers; what failed is sent again, with pauses, until the patience ends."""
        until, pause_s = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        answers: dict[int, Any] = {}
        while True:
            waiting = [i for i in range(len(commands)) if i not in answers]
            try:
                replies = yield [commands[i] for i in waiting]
                failures = [reply for reply in replies if isinstance(reply, Exception)]
            except AGAIN as error:
                replies, failures = [error] * len(waiting), [error]
            pairs = zip(waiting, replies, strict=True)
            answers |= {i: reply for i, reply in pairs if not isinstance(reply, Exception)}
            if not failures:
                return [answers[i] for i in range(len(commands))]
            lasting = [failure for failure in failures if not isinstance(failure, AGAIN)]
            if lasting or time.monotonic() + pause_s > until:
                raise (lasting or failures)[0]
            yield pause_s
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _text(event: object) -> str:
    """What a dead letter says of an event: JSON, or as Python prints what JSON can't say."""
    try:
        return json.dumps(event, default=str)[:4_096]
    except Exception:  # it runs the event's own code, as `shown` does
        return shown(event, 4_096)


def _entries(keys: LiveKeys, one: Event | Letter) -> list[Command]:
    """Both parts of an event; the user's first, as it is the one that lands in the log."""
    if not isinstance(one, Event):
        return [("XADD", keys.dead, "MAXLEN", "~", DEAD_LETTERS, "*", *one)]
    user = keys.stream("user", keys.bucket(one.user_id.encode()))
    video = keys.stream("video", keys.bucket(one.video_id.encode()))
    return [
        ("XADD", user, "*", *one.user_fields()),
        ("XADD", video, "*", *one.video_fields()),
    ]


class EventClient(_Events[Connection]):
    """Sends events to a Redis server or cluster; safe to share between threads.

    >>> EventClient.from_url("redis://localhost:6379", timeout_s=0.2).prefix
    'vt'
    """

    _connect = staticmethod(connect)
    _kinds = (redis.Redis, redis.RedisCluster)

    def send(self, events: Iterable[object], *, until: float = math.inf) -> Sent:
        """Send events (mappings, see :mod:`vidtopics.online.event_rules`), and wait until all are.

        Events that break a rule are refused one by one: they go to the dead letters with the
        reason, the others are taken.

        Args:
            events: any number; they go in batches, for each of which the client has its patience.
            until: seconds of `time.monotonic()` from which on no batch begins.

        Raises:
            NotAcknowledgedError: Redis didn't take all of them within the client's patience, or
                not before `until`.
            StoreError: nothing was loaded under the prefix.
        """
        return drive(self._send(events, until), self._transport)

    def close(self) -> None:
        """Close the connections."""
        self.connection.close()

    def _transport(self, message: Message) -> object:
        if isinstance(message, float):
            time.sleep(message)
            return None
        with self.connection.pipeline(transaction=False) as pipe:
            for command in message:
                pipe.execute_command(*command)
            return pipe.execute(raise_on_error=False)


class AsyncEventClient(_Events[AsyncConnection]):
    """The same for asyncio."""

    _connect = staticmethod(connect_async)
    _kinds = (redis.asyncio.Redis, AsyncCluster)

    async def send(self, events: Iterable[object]) -> Sent:
        """As :meth:`EventClient.send`."""
        return await drive_async(self._send(events), self._transport)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.connection.aclose()

    async def _transport(self, message: Message) -> object:
        if isinstance(message, float):
            await asyncio.sleep(message)
            return None
        pipe: Any = self.connection.pipeline(transaction=False)
        for command in message:
            pipe.execute_command(*command)
        return await pipe.execute(raise_on_error=False)
