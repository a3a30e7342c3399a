"""Events of a request path: put into bounded memory, sent by a thread.

::

    buffer = EventBuffer(EventClient.from_url(url))
    buffer.put(event)       # returns at once while there is room
    left = buffer.close()   # at the process's end: what couldn't be sent
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice
from typing import Any

from vidtopics.errors import BusyError, explain
from vidtopics.online.events import BATCH, EventClient, NotAcknowledgedError

CAPACITY = 20_000
RETRY_S = 0.2


class EventBuffer:
    """Sends what threads put, in order and in batches; make one per process, after it forked.

    An event is safe once it is acknowledged, not once it is put: what waits is lost with the
    process. Where Redis doesn't answer, events are sent again until it does; meanwhile the memory
    fills, and then `put` waits: that is the back-pressure.

    Attributes:
        acknowledged: events that Redis has, or that were refused with their reason.
        refused: those that broke a rule; they are dead letters.
        last_error: why the last attempt failed; None where it didn't.
    """

    def __init__(self, client: EventClient, *, capacity: int = CAPACITY) -> None:
        self.client, self.capacity = client, capacity
        self.acknowledged = self.refused = 0
        self.last_error: Exception | None = None
        self._waiting: deque[Any] = deque()
        self._changed = threading.Condition()
        self._until: float | None = None
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def put(self, event: object, *, timeout_s: float = 1.0) -> None:
        """Keep an event for the thread; waits while the memory is full.

        Raises:
            BusyError: it was full for `timeout_s`, or the buffer was closed. The event isn't taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_room() or self._until is not None, timeout_s)
            if self._until is not None or not self._has_room():
                raise self._busy()
            self._waiting.append(event)
            self._changed.notify_all()

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was put is acknowledged; whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def close(self, timeout_s: float = 10.0) -> list[Any]:
        """Send what waits, for `timeout_s` at most, and end the thread; what is left then."""
        with self._changed:
            self._until = time.monotonic() + timeout_s
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            return list(self._waiting)

    def _has_room(self) -> bool:
        return len(self._waiting) < self.capacity

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._until is not None)
                is_late = self._until is not None and time.monotonic() >= self._until
                if not self._waiting or is_late:
                    return
                batch = list(islice(self._waiting, BATCH))
            done = self._send(batch)
            with self._changed:
                for _ in range(done):
                    self._waiting.popleft()
                self.acknowledged += done
                self._changed.notify_all()

    def _send(self, batch: list[Any]) -> int:
        """How many of the first of a batch need not be sent again."""
        try:
            self.refused += len(self.client.send(batch).refused)
        except Exception as error:  # whatever it is, the events wait and `last_error` says so
            self.last_error = error
            time.sleep(RETRY_S)
            return error.acknowledged if isinstance(error, NotAcknowledgedError) else 0
        self.last_error = None
        return len(batch)

    def _busy(self) -> BusyError:
        state = f"{len(self._waiting)} of {self.capacity} events waiting"
        if self._until is not None:
            state = "one that was closed"
        elif self.last_error is not None:
            state = f"{state} ({self.last_error})"
        return BusyError(
            explain(
                "the buffer of events",
                expected="room for an event",
                found=state,
                mend="wait and put it again, or give the buffer more `capacity`",
            )
        )
