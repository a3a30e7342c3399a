"""A circuit breaker: while Redis doesn't answer, requests end at once instead of holding threads.

As in M. Nygard, Release It! (2nd ed., 2018, 5.2): closed, open for a pause, then half open, when
one request at a time finds out whether Redis answers again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from redis.exceptions import ConnectionError as UnreachableError
from redis.exceptions import TimeoutError as SilentError

from consumers.serving.deadlines import DeadlineError
from vidtopics.errors import StoreError, explain

FAULTS = (DeadlineError, UnreachableError, SilentError)
"""Of a Redis that gives no answer; any other error is one."""


class OpenError(StoreError):
    """Redis wasn't asked, as it gave no answer to the requests before.

    Attributes:
        wait_s: after which it is asked again.
    """

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Breaker:
    """Lets calls through until several in a row got no answer; for one event loop.

    Args:
        failures: calls in a row without an answer, after which it opens.
        pause: that it stays open.
        opened: told each time that it opens.
        refused: told of each call that isn't let through.
        clock: seconds.

    >>> now = [0.0]
    >>> breaker = Breaker(2, timedelta(seconds=1), clock=lambda: now[0])
    >>> def call(error=None):
    ...     try:
    ...         with breaker.guard():
    ...             if error:
    ...                 raise error
    ...     except (OpenError, SilentError) as raised:
    ...         return type(raised).__name__
    >>> [call(SilentError()), call(SilentError()), call()]
    ['TimeoutError', 'TimeoutError', 'OpenError']
    >>> now[0] = 1.0
    >>> [call(), call()]
    [None, None]
    """

    def __init__(
        self,
        failures: int,
        pause: timedelta,
        *,
        opened: Callable[[], None] = lambda: None,
        refused: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._pause_s = pause / timedelta(seconds=1)
        self._opened = opened
        self._refused = refused
        self._clock = clock
        self._failed = 0
        self._until = 0.0
        self._is_probing = False

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around one call; OpenError where it isn't let through."""
        is_probe = self._enter()
        try:
            yield
        except Exception as error:
            if isinstance(error, FAULTS) or isinstance(error.__cause__, FAULTS):
                self._note_failure(is_probe)
            else:
                self._failed = 0  # Redis answered, or it wasn't its fault
            raise
        else:
            self._failed = 0
        finally:
            if is_probe:
                self._is_probing = False

    def _enter(self) -> bool:
        """Whether the call is the one that finds out if Redis answers again."""
        if self._failed < self._limit:
            return False
        wait_s = self._until - self._clock()
        if wait_s > 0 or self._is_probing:
            self._refused()
            raise self._open(max(wait_s, 0.0))
        self._is_probing = True
        return True

    def _note_failure(self, is_probe: bool) -> None:
        """Open at the last failure that is one too many; those that began before change nothing."""
        self._failed += 1
        if is_probe or self._failed == self._limit:
            self._until = self._clock() + self._pause_s
            self._opened()

    def _open(self, wait_s: float) -> OpenError:
        message = explain(
            "Redis",
            expected="an answer to one of the last requests",
            found=f"none to {self._failed} in a row, so it isn't asked for now",
            mend=f"ask again in {wait_s:.2g} s; see that Redis runs and can be reached",
        )
        return OpenError(message, wait_s)
