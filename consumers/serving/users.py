"""`GET /users/ID`: what a user did up to the last event that was applied, and the user's topics."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.epochs import of_epoch
from consumers.retrieval.rules import TopicCounts, count_topics
from consumers.serving.deadlines import BoundedStore, Deadline
from consumers.serving.labels import Labels
from consumers.serving.live import Live
from consumers.serving.service import Service
from consumers.serving.stages import DAMAGED, Stage
from vidtopics.contracts import PARENT, TOPIC, VIDEO_TOPICS
from vidtopics.layout.live import Click
from vidtopics.online.live import LiveUser
from vidtopics.times import moment

TOPICS = 12
"""Topics of a user that an answer has at most."""


async def user(service: Service, user_id: str, limit: int | None) -> tuple[dict[str, Any], str]:
    """Counts, recent clicks and their topics, in plain values; zeros of a user nobody knows.

    Beside them why events of the user aren't counted, for the log; empty: they are.

    Raises:
        InputError: more clicks than `serving.max_videos`.
        StoreError, redis.exceptions.RedisError: Redis has or gives no answer in time.
    """
    number, deadline = service.videos("query", limit), service.deadline()

    def read(live: Live) -> tuple[LiveUser, TopicCounts]:
        return _read(live, user_id, deadline)

    live, (activity, topics) = await service.answer(deadline, read)
    labels = live.labels or Labels()
    return {
        "user_id": user_id,
        "exposures": activity.exposures,
        "clicks": activity.clicks,
        "recent_clicks": [_click(click) for click in activity.recent_clicks[:number]],
        "topics": [
            _topic(topic, clicks, labels)
            for topic, clicks in zip(*(column.tolist() for column in topics), strict=True)
        ],
        "release": live.release,
        "degraded": [Stage.EVENTS] if service.watch.events_behind or activity.is_damaged else [],
    }, DAMAGED if activity.is_damaged else ""


def _read(live: Live, user_id: str, deadline: Deadline) -> tuple[LiveUser, TopicCounts]:
    """What the user did, and the topics of the recent clicks as recall counts them."""
    deadline.check()
    activity = live.store.live_user(user_id)
    store = BoundedStore(live.store, deadline)
    rows = of_epoch(
        store.read(VIDEO_TOPICS.name, activity.recent_video_ids), store.catalogue().epoch
    )
    slots = cast("NDArray[np.int64]", rows["topic_ids"])
    return activity, count_topics(slots).first(TOPICS)


def _click(click: Click) -> dict[str, Any]:
    return {
        "video_id": click.video.decode(),
        "clicked_at": moment(click.us),
        "watch_seconds": None if click.watch < 0 else click.watch,
    }


def _topic(topic: int, clicks: int, labels: Labels) -> dict[str, Any]:
    parent = labels.parent_of.get(topic)
    return {
        "topic_id": topic,
        "clicks": clicks,
        "label_terms": list(labels.of(TOPIC, topic)),
        "parent_topic_id": parent,
        "parent_label_terms": [] if parent is None else list(labels.of(PARENT, parent)),
    }
