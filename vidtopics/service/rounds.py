"""Work in rounds at a fixed pace, until a signal or too many failures end the process.

Each work has a thread: a run that takes an hour doesn't hold up materialisation.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from threading import Event
from types import FrameType
from typing import Any

from vidtopics.errors import VidtopicsError

SECONDS = {"s": 1, "m": 60, "h": 3600}
SIGNAL_S = 1.0
Facts = Mapping[str, Any]


class StandbyError(VidtopicsError):
    """Another process holds the lock: this one stands by for the round."""


class BlockedError(VidtopicsError):
    """A gate rejected the release: the last one stays in force, and waits for a person."""


class ProcessError(VidtopicsError):
    """A process that a round ran ended with an error."""


class PartialError(VidtopicsError):
    """A round did all but what the message names; `facts` has what it did."""

    def __init__(self, message: str, facts: Facts) -> None:
        super().__init__(message)
        self.facts = facts


class Outcome(StrEnum):
    """How a round ended."""

    OK = "ok"
    FAILED = "failed"
    LOCKED = "locked"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Work:
    """What is repeated: its name, the seconds from start to start, and one round of it.

    `once` returns facts for the log, or raises. `due` begins the next round at once when set.
    """

    name: str
    every_s: float
    once: Callable[[], Facts]
    due: Event = field(default_factory=Event)


@dataclass(frozen=True)
class Round:
    """One round that has ended.

    Attributes:
        work: the name of its work.
        number: counted from 1 in this process.
        outcome: how it ended.
        seconds: its duration.
        failures: rounds that failed one after the other, this one included.
        facts: what `once` returned, or did before it failed.
        error: what `once` raised.
    """

    work: str
    number: int
    outcome: Outcome
    seconds: float
    failures: int
    facts: Facts
    error: Exception | None = None


Listener = Callable[[Round], None]


class Supervisor:
    """Works side by side, each in rounds of its own, until :meth:`end` or too many failures.

    A failure is a round that raised, but for :class:`StandbyError`, which leaves the count as it
    is, and :class:`BlockedError`, which no restart mends.

    Args:
        works: what is repeated.
        listeners: called with each round that has ended, in its work's thread.
        max_failures: rounds of one work that may fail one after the other; None: any number.

    >>> once = iter([{"rows": 3}, {"rows": 0}])
    >>> work = Work("load", 0.01, lambda: next(once))
    >>> supervisor = Supervisor([work], [lambda r: print(r.number, r.outcome, r.facts)], 1)
    >>> supervisor.run()
    1 ok {'rows': 3}
    2 ok {'rows': 0}
    3 failed {}
    >>> supervisor.exhausted
    'load'
    """

    def __init__(
        self,
        works: Sequence[Work],
        listeners: Sequence[Listener] = (),
        max_failures: int | None = None,
    ) -> None:
        self.exhausted = ""
        """The work that failed too often; empty where none did."""
        self._works, self._listeners, self._max_failures = works, listeners, max_failures
        self._ending = Event()

    def end(self) -> None:
        """End each work after the round that it is in, at once where it is idle."""
        self._ending.set()
        for work in self._works:
            work.due.set()

    def run(self) -> None:
        """Repeat all works until the end."""
        with ThreadPoolExecutor(len(self._works)) as pool:
            loops = [pool.submit(self._repeat, work) for work in self._works]
            # A signal that the system gave to another thread is handled once this one wakes.
            while wait(loops, SIGNAL_S).not_done:
                pass
            for loop in loops:
                loop.result()

    def _repeat(self, work: Work) -> None:
        failures = 0
        try:
            for number in count(1):
                if self._ending.is_set():
                    return
                work.due.clear()
                began = time.monotonic()
                ended = _attempt(work, number, failures)
                failures = ended.failures
                for listen in self._listeners:
                    listen(ended)
                if self._max_failures and failures >= self._max_failures:
                    self.exhausted = work.name
                    self.end()
                if not self._ending.is_set():
                    work.due.wait(max(0.0, work.every_s - (time.monotonic() - began)))
        except BaseException:  # a bug of ours: the others must not go on without this one
            self.end()
            raise


def _attempt(work: Work, number: int, failures: int) -> Round:
    """One round; whatever it raises, a service goes on."""
    began = time.monotonic()
    facts: Facts = {}
    error: Exception | None = None
    try:
        facts, outcome = work.once(), Outcome.OK
    except StandbyError as standby:
        error, outcome = standby, Outcome.LOCKED
    except BlockedError as blocked:
        error, outcome = blocked, Outcome.BLOCKED
    except PartialError as partial:
        facts, error, outcome = partial.facts, partial, Outcome.FAILED
    except Exception as failure:
        error, outcome = failure, Outcome.FAILED
    failed = {Outcome.FAILED: failures + 1, Outcome.LOCKED: failures}.get(outcome, 0)
    return Round(work.name, number, outcome, time.monotonic() - began, failed, facts, error)


@contextmanager
def signals(end: Callable[[], None]) -> Iterator[None]:
    """Within the block SIGINT and SIGTERM call `end` instead of ending the process."""

    def handle(number: int, frame: FrameType | None) -> None:
        end()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def seconds(text: str) -> float:
    """A duration as people write it; ValueError where it isn't one.

    >>> seconds("90s"), seconds("5m"), seconds("1h")
    (90.0, 300.0, 3600.0)
    """
    match = re.fullmatch(r"([1-9]\d*)([smh])", text)
    if not match:
        raise ValueError(f"{text!r}: write 30s, 5m or 1h")
    return float(match[1]) * SECONDS[match[2]]
