"""What the routes share: the live release, threads that read and rank, limits and figures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from datetime import timedelta
from functools import partial
from typing import TypeVar

from consumers.live import LiveRules
from consumers.serving.breaker import Breaker, OpenError
from consumers.serving.deadlines import Deadline, DeadlineError
from consumers.serving.live import Live, Watch
from consumers.serving.metrics import PATHS, ServingMetrics
from consumers.serving.pools import DaemonPool
from vidtopics.errors import InputError, StoreError, explain
from vidtopics.online.events import EventClient
from vidtopics.settings import ServingSettings

T = TypeVar("T")
VIDEOS = 10
"""That a request gets which doesn't say how many."""
LOOKS = 10
"""Looks at the live release that may be missing before the service says that it isn't ready."""
FIRST_LOOK_S = 60.0
"""That a look may take: the first one loads the model."""


class Service:
    """One worker's.

    Args:
        watch: has the live release.
        settings: limits of requests.
        metrics: of this process.
        events: sends what users did.
        popular_share: `recall.popular_share`.
        live_rules: how events count in recommendations; None: `recall.live` is off.
    """

    def __init__(
        self,
        watch: Watch,
        settings: ServingSettings,
        metrics: ServingMetrics,
        *,
        events: EventClient,
        popular_share: float,
        live_rules: LiveRules | None = None,
    ) -> None:
        self.watch = watch
        self.settings = settings
        self.metrics = metrics
        self.events = events
        self.popular_share = popular_share
        self.live_rules = live_rules
        self.draining = False
        self.reading = DaemonPool(settings.threads, "reading")
        self.ranking = DaemonPool(settings.threads, "ranking")
        self.sending = DaemonPool(settings.threads, "sending")
        self.read_breaker, self.send_breaker = (
            Breaker(
                settings.breaker_failures,
                settings.breaker_pause,
                opened=partial(metrics.breaker_opened, path),
                refused=partial(metrics.breaker_refused, path),
            )
            for path in PATHS
        )

    def deadline(self) -> Deadline:
        """Of a request that begins now."""
        return Deadline(self.settings.deadline / timedelta(seconds=1))

    async def answer(self, deadline: Deadline, read: Callable[[Live], T]) -> tuple[Live, T]:
        """What a read of the live release gives, and that release.

        The read is repeated once where its release isn't retained any more.

        Raises:
            DeadlineError: it took too long.
            OpenError: the requests before got no answer, so Redis isn't asked.
            StoreError, redis.exceptions.RedisError: as the read raises.
        """
        live = self.watch.needed()
        try:
            return live, await self._read(deadline, partial(read, live))
        except (DeadlineError, OpenError):
            raise
        except StoreError:
            await self._read(deadline, partial(self.watch.look, live))
            newer = self.watch.needed()
            if newer is live:
                raise
            return newer, await self._read(deadline, partial(read, newer))

    async def _read(self, deadline: Deadline, call: Callable[[], T]) -> T:
        return await self.bounded(deadline, self.reading, self.read_breaker, call)

    async def bounded(
        self, deadline: Deadline, pool: Executor, breaker: Breaker, call: Callable[[], T]
    ) -> T:
        """What a call of Redis in another thread gives; raises as :meth:`answer`."""
        with breaker.guard():
            try:
                return await within(deadline.left(), pool, call)
            except TimeoutError:
                raise deadline.late() from None

    def not_ready(self) -> Iterator[str]:
        """Why requests shouldn't come here; nothing where they may."""
        if self.draining:
            yield "draining: the service ends"
        yield from self.watch.problems
        if self.settings.require_events and self.watch.events_behind:
            yield (
                f"events are behind by {self.watch.event_lag_s:.0f} s,"
                f" above online.max_event_lag of {self.watch.max_event_lag_s:.0f} s"
            )
        limit = LOOKS * self.settings.check_every / timedelta(seconds=1)
        if (age := self.watch.age_s()) > limit + FIRST_LOOK_S:
            yield f"no look at the live release has ended for {age:.0f} s"

    def videos(self, where: str, limit: int | None) -> int:
        """How many videos a request gets; InputError where it asks for too many."""
        most = self.settings.max_videos
        if limit is None:
            return min(VIDEOS, most)
        self.check_limit(f"{where}, limit", limit, most, "max_videos")
        return limit

    def check_limit(self, what: str, number: int, most: int, setting: str) -> None:
        """InputError above a limit."""
        if number > most:
            raise InputError(
                explain(
                    what,
                    expected=f"{most} at most",
                    found=str(number),
                    mend=f"ask for less, or raise `serving.{setting}`",
                )
            )

    def close(self) -> None:
        """Let no thread begin anything."""
        for pool in (self.reading, self.ranking, self.sending):
            pool.shutdown(wait=False)


async def within(seconds: float, pool: Executor, call: Callable[[], T]) -> T:
    """What a call in another thread gives; TimeoutError where that takes longer.

    The thread goes on: what it does has to end by itself.
    """
    return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(pool, call), seconds)
