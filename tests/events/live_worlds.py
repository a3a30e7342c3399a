"""Events of small worlds, what the batch would say of them in plain Python, and dying consumers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis
from redis.client import Pipeline

from vidtopics.events.applying import Applier
from vidtopics.events.generations import Generation, keys_of
from vidtopics.layout import Layout, place
from vidtopics.layout.live import COUNTS, Click, LiveKeys, Skip, UserState

NOW_US = time.time_ns() // 1000
DAY = timedelta(days=1)
Mapped = dict[str, Any]


class CrashError(Exception):
    """What kills a consumer."""


@dataclass(frozen=True)
class Shown:
    """An impression, with its click and how long the video was watched."""

    event: str
    user: str
    video: str
    us: int
    position: int | None = None
    clicked_us: int | None = None
    watch: float | None = None

    def impression(self) -> Mapped:
        position = {} if self.position is None else {"position": self.position}
        return {
            "kind": "impression",
            "event_id": self.event,
            "user_id": self.user,
            "video_id": self.video,
            "event_timestamp": self.us / 1e6,
        } | position

    def click(self) -> Mapped:
        assert self.clicked_us is not None
        return self.impression() | {"kind": "click", "clicked_at": self.clicked_us / 1e6}

    def watched(self) -> Mapped:
        return self.click() | {"kind": "watch", "watch_seconds": self.watch}


@dataclass(frozen=True)
class Batch:
    """What the jobs' rules say of a log: plain loops over its events before a time."""

    log: Sequence[Shown]
    at_us: int
    limit: int

    def shown(self) -> Iterator[Shown]:
        return (event for event in self.log if event.us < self.at_us)

    def clicked(self) -> Iterator[Shown]:
        return (e for e in self.log if e.clicked_us is not None and e.clicked_us < self.at_us)

    def counts(self, of: str) -> dict[str, tuple[int, int]]:
        """Exposures and clicks by `video` or `user`."""
        exposures = Counter(getattr(event, of) for event in self.shown())
        clicks = Counter(getattr(event, of) for event in self.clicked())
        names = {getattr(event, of) for event in self.log}
        return {name: (exposures[name], clicks[name]) for name in names}

    def recent_clicks(self, user: str) -> list[Click]:
        last: dict[bytes, tuple[int, float]] = {}
        for event in self.clicked():
            if event.user == user:
                assert event.clicked_us is not None
                watch = -1.0 if event.watch is None else event.watch
                name = event.video.encode()
                last[name] = max(last.get(name, (-(2**62), 0.0)), (event.clicked_us, watch))
        clicks = [Click(us, name, watch) for name, (us, watch) in last.items()]
        return sorted(clicks, key=lambda c: (c.us, c.video), reverse=True)[: self.limit]

    def all_skips(self, user: str) -> list[Skip]:
        clicked = {event.event for event in self.clicked()}
        skips = [
            Skip(e.us, e.video.encode(), -1 if e.position is None else e.position)
            for e in self.shown()
            if e.user == user and e.event not in clicked
        ]
        return sorted(skips, reverse=True)

    def recent_skips(self, user: str) -> list[Skip]:
        return self.all_skips(user)[: self.limit]


def new_store(connection: Any, *, buckets: int = 2) -> LiveKeys:
    """A prefix in an empty store, as a first load leaves it."""
    connection.set(place("vt", "layout"), Layout(buckets).to_json())
    return keys_of(connection, "vt")


def applier(connection: Any, keys: LiveKeys, *, recent: int = 3) -> Applier:
    return Applier(connection, keys, recent=recent, max_ahead=DAY)


def video_counts(connection: Any, keys: LiveKeys, release: int, video: str) -> tuple[int, int]:
    name = keys.state(release, "video", "state", keys.bucket(video.encode()))
    value = connection.hget(name, video)
    return COUNTS.unpack_from(value) if value else (0, 0)


def user_state(connection: Any, keys: LiveKeys, release: int, user: str) -> UserState:
    name = keys.state(release, "user", "state", keys.bucket(user.encode()))
    return UserState.parse(connection.hget(name, user))


def assert_equals_batch(
    connection: Any, keys: LiveKeys, generation: Generation, log: Sequence[Shown], limit: int
) -> None:
    """The release's batch and its generation together are the batch of the whole log."""
    before = Batch(log, generation.as_of_us, limit)
    after = Batch(log, 2**62, limit)
    earlier = before.counts("video")
    for video, (exposures, clicks) in after.counts("video").items():
        old = earlier[video]
        live = video_counts(connection, keys, generation.release, video)
        assert (old[0] + live[0], old[1] + live[1]) == (exposures, clicks), video
    earlier = before.counts("user")
    for user, (exposures, clicks) in after.counts("user").items():
        old = earlier[user]
        state = user_state(connection, keys, generation.release, user)
        assert (old[0] + state.exposures, old[1] + state.clicks) == (exposures, clicks), user
        recent = state.recent_clicks(before.recent_clicks(user))
        assert recent[:limit] == after.recent_clicks(user), user
        _assert_skips(state.recent_skips(before.recent_skips(user)), before, after, user)


def _assert_skips(skips: list[Skip], before: Batch, after: Batch, user: str) -> None:
    """The list is that of the whole log, or a beginning of it where more was shown than is kept."""
    whole = after.recent_skips(user)
    skips = skips[: after.limit]
    assert skips == whole[: len(skips)], user
    shown = sum(event.user == user for event in after.log)
    if shown <= after.limit:
        assert skips == whole, user


@contextmanager
def dying(at: int, done: float) -> Iterator[None]:
    """Within the block call number `at` fails; after it is done at the server if `done` < .5."""
    calls = iter(range(10**9))
    execute, command = Pipeline.execute, redis.Redis.execute_command

    def counted(call: Any) -> Any:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            if next(calls) != at:
                return call(*arguments, **options)
            if done < 0.5:
                call(*arguments, **options)
            raise CrashError

        return wrapper

    Pipeline.execute, redis.Redis.execute_command = counted(execute), counted(command)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Pipeline.execute, redis.Redis.execute_command = execute, command  # type: ignore[method-assign]


def sent(shown: Iterable[Shown]) -> list[Mapping[str, Any]]:
    """Everything that is to be told of impressions, in order."""
    events: list[Mapping[str, Any]] = []
    for one in shown:
        events.append(one.impression())
        if one.clicked_us is not None:
            events.append(one.click())
            if one.watch is not None:
                events.append(one.watched())
    return events
