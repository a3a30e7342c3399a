"""`GET /events/status`: how far the events that were sent have been applied to what is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from consumers.serving.deadlines import Deadline
from consumers.serving.live import Live
from consumers.serving.service import Service
from vidtopics.contracts import USER_STATISTICS, VIDEO_STATISTICS, Table
from vidtopics.events.generations import counters, lags, opened
from vidtopics.layout.live import LiveKeys, Part
from vidtopics.online.lists import release_of
from vidtopics.times import moment

VIEW_OF: Mapping[Part, Table] = {"video": VIDEO_STATISTICS, "user": USER_STATISTICS}
"""By whose release the generation of a part goes."""


async def status(service: Service) -> dict[str, Any]:
    """The live release's events in plain values, those of videos and of users.

    Raises:
        StoreError, redis.exceptions.RedisError: Redis has or gives no answer in time.
    """
    deadline = service.deadline()
    live, state = await service.answer(deadline, lambda live: _state(live, deadline))
    model = live.model
    version = {"version": model.version, "trained_on_release": model.release} if model else None
    return {"release": live.release, "model": version, **state}


def _state(live: Live, deadline: Deadline) -> dict[str, Any]:
    connection, directory = live.store.connection, live.store.directory()
    keys, generations = (
        LiveKeys(directory.prefix, directory.layout),
        opened(connection, directory.prefix),
    )
    state: dict[str, Any] = {"now": moment(_now_us(connection))}
    for part, table in VIEW_OF.items():
        deadline.check()
        release = release_of(directory, table.name) if table.name in directory.views else 0
        behind_ms = max(lags(connection, keys, release)[part])
        generation = generations.get(release)
        state[part] = {
            "events_from": moment(generation.as_of_us) if generation else None,
            "entries": counters(connection, keys, release)[part],
            "waiting": behind_ms > 0,
            "lag_ms": behind_ms if generation else None,
        }
    return state


def _now_us(connection: Any) -> int:
    """The clock by which events are judged: Redis's, of a cluster any node's."""
    answer = cast("Any", connection.time())
    seconds, us = next(iter(answer.values())) if isinstance(answer, dict) else answer
    return int(seconds) * 1_000_000 + int(us)
