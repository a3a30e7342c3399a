"""The time that a request has, held by every read of the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from consumers.live.store import LiveSource
from consumers.retrieval.recall import Views
from vidtopics.errors import StoreError, explain
from vidtopics.online import Catalogue, Features
from vidtopics.online.live_reads import LiveRead


class DeadlineError(StoreError):
    """A request's time is over before its answer was complete."""


class Deadline:
    """A moment on the monotonic clock.

    Attributes:
        seconds: of it all.
        at: the moment, as `time.monotonic()` counts.

    >>> Deadline(60).left() > 59, Deadline(-1).left()
    (True, 0.0)
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, 0 once it has passed."""
        return max(self.at - time.monotonic(), 0.0)

    def check(self) -> None:
        """DeadlineError once it has passed."""
        if not self.left():
            raise self.late()

    def late(self) -> DeadlineError:
        """The error of a request that wasn't answered in time."""
        return DeadlineError(
            explain(
                "this request",
                expected=f"an answer of Redis within {1e3 * self.seconds:g} ms",
                found="none",
                mend="ask again; raise `serving.deadline` where Redis is well",
            )
        )


class BoundedStore:
    """A store whose reads are refused once a deadline has passed.

    A read that has begun ends by the client's own timeout, so that a thread waits for one of them
    at most.
    """

    def __init__(self, store: LiveSource, deadline: Deadline) -> None:
        self._store = store
        self._deadline = deadline

    def snapshot(self) -> BoundedStore:
        """A handle whose reads are all of one release."""
        return BoundedStore(self._store.snapshot(), self._deadline)

    def directory(self) -> Views:
        """As the store's."""
        self._deadline.check()
        return self._store.directory()

    def read(self, view: str, ids: Sequence[str]) -> Features:
        """As the store's."""
        self._deadline.check()
        return self._store.read(view, ids)

    def read_entities(
        self, views: Sequence[str], ids: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Features]:
        """As the store's."""
        self._deadline.check()
        return self._store.read_entities(views, ids)

    def has_live_queues(self) -> bool:
        """As the store's."""
        return self._store.has_live_queues()

    def read_live(
        self,
        parts: Sequence[tuple[str, Sequence[str]]],
        *,
        user_id: str | None = None,
        video_ids: Sequence[str] = (),
    ) -> LiveRead:
        """As the store's."""
        self._deadline.check()
        return self._store.read_live(parts, user_id=user_id, video_ids=video_ids)

    def queues(
        self, names: Sequence[str], *, epoch: int, limit: Sequence[int], live: bool = True
    ) -> list[list[str]]:
        """As the store's."""
        self._deadline.check()
        return self._store.queues(names, epoch=epoch, limit=limit, live=live)

    def catalogue(self) -> Catalogue:
        """As the store's."""
        self._deadline.check()
        return self._store.catalogue()
