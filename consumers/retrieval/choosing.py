"""From what a user clicked to candidates, over any store of queues (paper, III-B1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from consumers.retrieval.rules import Queue, Reason, TopicCounts, fill, queue_of_request, quotas
from vidtopics.contracts import CATALOGUE, PARENT, TOPIC
from vidtopics.layout import queue_name
from vidtopics.settings import RecallSettings

QueueReader = Callable[[Sequence[str], Sequence[int]], Sequence[Sequence[str]]]
"""The first so many videos of each queue, by name (:func:`vidtopics.layout.queue_name`)."""
POOL = 1_000
"""Fresh videos that are read of a queue, at most; `queues.fresh_pool` says how many there are."""
WHOLE = TopicCounts(np.zeros(1, np.int64), np.zeros(1, np.int64))


class Taste(NamedTuple):
    """Topics and parents to recall from, each by falling number of clicks."""

    topics: TopicCounts
    parents: TopicCounts


def choose(
    read: QueueReader, taste: Taste, seen: Collection[str], settings: RecallSettings, seed: int
) -> dict[str, Reason]:
    """N_3 candidates with their reasons, or all that the queues have.

    First from the N_2 strongest topics, in proportion to their clicks and with a floor; what these
    leave open from the user's parents, in proportion; what is still open from the catalogue's most
    clicked videos. A taste without clicks, as that of a new user, has no topics,
    and all parents in equal parts.

    Args:
        read: reads queues and their fresh videos.
        taste: what to recall from.
        seen: videos that must not come back.
        settings: N_2, N_3, floor and share of fresh videos.
        seed: of the draw of fresh videos.
    """
    reasons: dict[str, Reason] = {}
    levels = (
        (TOPIC, taste.topics.first(settings.topics), settings.floor),
        (PARENT, taste.parents, 0.0),
        (CATALOGUE, WHOLE, 0.0),
    )
    for level, counts, floor in levels:
        missing = settings.candidates - len(reasons)
        if missing and len(counts.topic_ids):
            excluded = {*seen, *reasons}
            limits = _limits(level, counts, missing, len(excluded))
            queues = _queues(read, level, counts, limits, settings.fresh_share, seed)
            reasons |= fill(queues, excluded, missing, floor)
    return reasons


def _limits(level: str, counts: TopicCounts, missing: int, excluded: int) -> list[int]:
    """How far to read each queue.

    As many as are missing are left of a topic's queue, or the catalogue's, even if all excluded
    ones head it. Parents are read to twice their quotas and a part of what is excluded: what they
    don't give, the catalogue does.
    """
    if level == PARENT:
        shares = quotas(counts.clicks, missing, 0.0)
        return [2 * share + excluded // len(shares) + 1 for share in shares.tolist()]
    return [missing + excluded] * len(counts.topic_ids)


def _queues(
    read: QueueReader,
    level: str,
    counts: TopicCounts,
    limits: list[int],
    share: float,
    seed: int,
) -> list[Queue]:
    """The queues of a level as this request sees them; the catalogue has no fresh videos."""
    ids, number = counts.topic_ids.tolist(), len(counts.topic_ids)
    names = [queue_name(level, topic) for topic in ids]
    if share and level != CATALOGUE:
        names += [queue_name(level, topic, fresh=True) for topic in ids]
        limits = limits + [POOL] * number
    lists = read(names, limits)
    fresh = lists[number:] or [()] * number
    rows = zip(ids, counts.clicks.tolist(), lists[:number], fresh, strict=True)
    return [
        queue_of_request(Queue(level, topic, clicks, videos), pool, share, seed)
        for topic, clicks, videos, pool in rows
    ]
