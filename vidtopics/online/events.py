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
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, ClassVar, Generic, Self, TypeVar

import redis
import redis.asyncio
from redis.exceptions import BusyLoadingError, ClusterDownError, TryAgainError

from vidtopics.errors import StoreError, explain
from vidtopics.layout import Layout, place
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
from vidtopics.online.event_rules import MAX_AHEAD, Event, RefusedError, check

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
Message = Sequence[Command] | float
"""Commands of one round trip, or seconds to wait."""
Sending = Generator[Message, Any, "Sent"]


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
        self._keys: LiveKeys | None = None

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

    def _send(self, events: Iterable[object]) -> Sending:
        keys = self._keys or (yield from self._layout())
        acknowledged, refused = 0, []
        waiting = enumerate(events)
        while numbered := list(islice(waiting, BATCH)):
            commands: list[Command] = []
            for number, event in numbered:
                try:
                    commands += _entries(keys, check(event, max_ahead=self._max_ahead))
                except RefusedError as error:
                    refused.append(Refusal(number, error.reason, error.detail))
                    commands.append(_dead_letter(keys, event, error))
            try:
                yield from self._acknowledged(commands)
            except (redis.RedisError, OSError) as error:
                total = numbered[-1][0] + 1
                raise NotAcknowledgedError(self.prefix, total, acknowledged, error) from error
            acknowledged = numbered[-1][0] + 1
        return Sent(acknowledged - len(refused), tuple(refused))

    def _layout(self) -> Generator[Message, Any, LiveKeys]:
        [text] = yield from self._acknowledged([("GET", place(self.prefix, "layout"))])
        if text is None:
            raise StoreError(
                explain(
                    f"Redis, prefix {self.prefix!r}",
                    expected="a store that events can be sent to",
                    found="nothing",
                    mend="load a release first (`vidtopics materialize`), or name its prefix",
                )
            )
        self._keys = LiveKeys(self.prefix, Layout.from_json(self.prefix, text))
        return self._keys

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


def _entries(keys: LiveKeys, event: Event) -> list[Command]:
    """Both parts of an event; the user's first, as it is the one that lands in the log."""
    user = keys.stream("user", keys.bucket(event.user_id.encode()))
    video = keys.stream("video", keys.bucket(event.video_id.encode()))
    return [
        ("XADD", user, "*", *event.user_fields()),
        ("XADD", video, "*", *event.video_fields()),
    ]


def _dead_letter(keys: LiveKeys, event: object, error: RefusedError) -> Command:
    text = json.dumps(event, default=str)[:4_096]
    fields = ("reason", error.reason, "detail", error.detail, "event", text)
    return ("XADD", keys.dead, "MAXLEN", "~", DEAD_LETTERS, "*", *fields)


class EventClient(_Events[Connection]):
    """Sends events to a Redis server or cluster; safe to share between threads.

    >>> EventClient.from_url("redis://localhost:6379", timeout_s=0.2).prefix
    'vt'
    """

    _connect = staticmethod(connect)
    _kinds = (redis.Redis, redis.RedisCluster)

    def send(self, events: Iterable[object]) -> Sent:
        """Send events (mappings, see :mod:`vidtopics.online.event_rules`), and wait until all are.

        Events that break a rule are refused one by one: they go to the dead letters with the
        reason, the others are taken.

        Raises:
            NotAcknowledgedError: Redis didn't take all of them within the client's patience.
            StoreError: nothing was loaded under the prefix.
        """
        return drive(self._send(events), self._transport)

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
