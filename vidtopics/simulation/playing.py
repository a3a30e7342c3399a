"""A simulated day played into a running service: who comes asks it, and what they do is sent to it.

The world's clock runs `speed` times as fast as the real one. Events have real times: what a user
sees a minute later in the world happens a minute over the speed later, and is sent then.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from vidtopics.errors import SettingsError, explain
from vidtopics.simulation.identifiers import width
from vidtopics.simulation.live_day import LiveDay, Shown
from vidtopics.simulation.service_calls import ServiceCalls
from vidtopics.times import moment

ASKING = 4
"""Recommendations that are asked for at the same time."""
BATCH = 500
"""Events of a message at most."""
SECOND_US = 1_000_000
LONGEST_S = 0.5
"""Between two looks at whether it should end."""


@dataclass
class Played:
    """What has happened so far.

    Attributes:
        clock_us: of the world.
        requests: slates that were asked for.
        impressions: that were sent, or wait for their time.
        clicks: likewise.
        empty: requests to which nothing was recommended.
        late_s: how far requests come after their time, at most; the service is too slow then.
        topics: of what was recommended, how often each was a video's first.
    """

    clock_us: int
    requests: int = 0
    impressions: int = 0
    clicks: int = 0
    empty: int = 0
    late_s: float = 0.0
    topics: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Answer:
    user: int
    refresh: int
    videos: Sequence[dict[str, Any]]


@dataclass(order=True)
class _Due:
    """What happens at a moment of the monotonic clock: a user asks, or an event is sent."""

    at: float
    number: int
    user: int = field(compare=False, default=-1)
    refresh: int = field(compare=False, default=0)
    event: dict[str, Any] | None = field(compare=False, default=None)


class Player:
    """Plays one day.

    Args:
        day: of the world.
        service: that is asked.
        speed: of the world's clock.
        run: begins the ids of requests and events, so that no two runs share one.
        ended: ends it early once it is set.
    """

    def __init__(
        self, day: LiveDay, service: ServiceCalls, *, speed: float, run: str, ended: Event
    ) -> None:
        self.day, self.service, self.speed, self.run = day, service, speed, run
        self.played = Played(day.midnight_us)
        self._ended = ended
        self._numbers = count()
        self._waiting: list[_Due] = []
        self._answers: SimpleQueue[Future[_Answer]] = SimpleQueue()
        self._asked = 0
        self._sent: list[Future[Any]] = []
        self._user_digits = width(day.world.settings.users)
        self._video_digits = width(len(day.world.items.topic))

    def play(self, report: Callable[[Played], None], every_s: float) -> None:
        """Play until the day has ended, or `ended` is set.

        Raises:
            MachineError: the service doesn't answer, or refuses what it is sent.
            SettingsError: it recommends a video that the world doesn't have.
        """
        began = time.monotonic()
        self._wall_us = time.time_ns() // 1_000 - round(began * SECOND_US)
        self._origin_s = began - self.day.midnight_us / SECOND_US / self.speed
        for user in self.day.users.tolist():
            self._ask_later(user, 0, self._real(self.day.clock_us(user)))
        reported = began
        with ThreadPoolExecutor(ASKING) as asking, ThreadPoolExecutor(1) as sending:
            while (self._waiting or self._asked) and not self._ended.is_set():
                self._begin_due(asking, sending)
                self._take_answer(self._pause_s())
                if (now := time.monotonic()) - reported >= every_s:
                    reported = now
                    report(self.played)
        for future in self._sent:
            future.result()

    def _real(self, world_us: int) -> float:
        """The moment of the monotonic clock at which a time of the world comes."""
        return self._origin_s + world_us / SECOND_US / self.speed

    def _ask_later(self, user: int, refresh: int, at: float) -> None:
        heapq.heappush(self._waiting, _Due(at, next(self._numbers), user, refresh))

    def _pause_s(self) -> float:
        left = self._waiting[0].at - time.monotonic() if self._waiting else LONGEST_S
        return min(max(left, 0.0), LONGEST_S)

    def _begin_due(self, asking: ThreadPoolExecutor, sending: ThreadPoolExecutor) -> None:
        """Begin what is due: requests each, events as one message."""
        now, events = time.monotonic(), list[dict[str, Any]]()
        self.played.clock_us = int((now - self._origin_s) * self.speed * SECOND_US)
        while self._waiting and self._waiting[0].at <= now and len(events) < BATCH:
            due = heapq.heappop(self._waiting)
            if due.event is not None:
                events.append(due.event)
                continue
            self.played.late_s = max(self.played.late_s, now - due.at)
            self._asked += 1
            future = asking.submit(self._recommended, due.user, due.refresh)
            future.add_done_callback(self._answers.put)
        if events:
            self._sent = [future for future in self._sent if not _is_done(future)]
            self._sent.append(sending.submit(self._send, events))

    def _recommended(self, user: int, refresh: int) -> _Answer:
        limit = self.day.world.settings.slate
        answer = self.service.recommend(self._user_id(user), limit)
        return _Answer(user, refresh, answer["videos"])

    def _user_id(self, user: int) -> str:
        return f"u{user:0{self._user_digits}d}"

    def _send(self, events: Sequence[dict[str, Any]]) -> None:
        if refused := self.service.send(events)["refused"]:
            raise SettingsError(
                explain(
                    "an event of the simulated day",
                    expected="that it is taken",
                    found=f"{refused[0]['reason']} {refused[0]['detail']}",
                    mend="see docs/realtime.md",
                )
            )

    def _take_answer(self, pause_s: float) -> None:
        """Let a user who was answered do what follows; wait for one at most so long."""
        try:
            answer = self._answers.get(timeout=pause_s)
        except Empty:
            return
        self._asked -= 1
        self._react(answer.result())

    def _react(self, answer: _Answer) -> None:
        self.played.requests += 1
        for video in answer.videos:
            self.played.topics.update(topic["topic_id"] for topic in video["topics"][:1])
        slate = [self._number_of(video["video_id"]) for video in answer.videos]
        if not slate:
            self.played.empty += 1
            return
        start_us, now = self.day.clock_us(answer.user), time.monotonic()
        reaction = self.day.react(answer.user, answer.refresh, slate)

        def real(world_us: int) -> float:
            return now + (world_us - start_us) / SECOND_US / self.speed

        request = f"{self.run}-{answer.user:0{self._user_digits}d}-{answer.refresh:03d}"
        for shown in reaction.shown:
            self._send_later(answer.user, request, shown, real)
        if reaction.again:
            self._ask_later(answer.user, answer.refresh + 1, real(reaction.ended_us))

    def _number_of(self, video_id: str) -> int:
        count, digits = len(self.day.world.items.topic), video_id.removeprefix("v")
        if digits.isdecimal() and int(digits) < count:
            return int(digits)
        raise SettingsError(
            explain(
                "the service's home",
                expected=f"the {count:,} videos of the simulated world",
                found=f"the video {video_id!r}",
                mend="play the day on a home that `vidtopics demo` made alone",
            )
        )

    def _send_later(
        self, user: int, request: str, shown: Shown, real: Callable[[int], float]
    ) -> None:
        """An impression, and the watch of a video that was clicked, each once it has happened."""
        self.played.impressions += 1
        at = real(shown.shown_us)
        event = {
            "kind": "impression",
            "event_id": f"{request}-{shown.position}",
            "user_id": self._user_id(user),
            "video_id": f"v{shown.video:0{self._video_digits}d}",
            "event_timestamp": self._wall(at),
            "position": shown.position,
            "request_id": request,
        }
        self._push(at, event)
        if shown.clicked_us is None or shown.watch_seconds is None:
            return
        self.played.clicks += 1
        clicked = real(shown.clicked_us)
        watch: dict[str, Any] = {"kind": "watch", "clicked_at": self._wall(clicked)}
        watch["watch_seconds"] = round(shown.watch_seconds, 3)
        self._push(clicked + shown.watch_seconds / self.speed, event | watch)

    def _wall(self, at: float) -> str:
        """A moment of the monotonic clock by the clock on the wall, ISO 8601."""
        return moment(self._wall_us + round(at * SECOND_US))

    def _push(self, at: float, event: dict[str, Any]) -> None:
        heapq.heappush(self._waiting, _Due(at, next(self._numbers), event=event))


def _is_done(future: Future[Any]) -> bool:
    """Whether a message was taken; what went wrong with it is raised."""
    if future.done():
        future.result()
    return future.done()
