"""From what a user clicked to candidates, over any store of queues (paper, III-B1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.rules import (
    Queue,
    Reason,
    TopicCounts,
    fill,
    in_turn,
    queue_of_request,
    quotas,
)
from consumers.retrieval.tilting import Popular, Taste
from vidtopics.contracts import CATALOGUE, PARENT, TOPIC
from vidtopics.layout import queue_name
from vidtopics.settings import RecallSettings

QueueReader = Callable[[Sequence[str], Sequence[int]], Sequence[Sequence[str]]]
"""The first so many videos of each queue, by name (:func:`vidtopics.layout.queue_name`)."""
POOL = 1_000
"""Fresh videos that are read of a queue, at most; `queues.fresh_pool` says how many there are."""
SCALE = 1_000
"""Weights of parents are whole thousandths of a click."""


class Level(NamedTuple):
    """Queues to fill from together: int64[T] each.

    Attributes:
        name: topic, parent or catalogue.
        topic_ids: of the queues, the strongest first.
        clicks: the user's in each.
        weights: what quotas are in proportion to.
        floor: least share of each.
    """

    name: str
    topic_ids: NDArray[np.int64]
    clicks: NDArray[np.int64]
    weights: NDArray[np.int64]
    floor: float = 0.0


class Popularity(NamedTuple):
    """Parent topics of the catalogue by falling clicks of all users, and those."""

    parents: Sequence[int]
    clicks: Sequence[float]


def choose(
    read: QueueReader,
    taste: Taste,
    popularity: Popularity,
    seen: Collection[str],
    settings: RecallSettings,
    seed: int,
    popular: Popular | None = None,
) -> dict[str, Reason]:
    """N_3 candidates with their reasons, or all that the queues have.

    First from the N_2 strongest topics, in proportion to their clicks and with a floor; what these
    leave open from all parents (:func:`parent_level`); what is still open from what is popular in
    the whole catalogue. With `popular` videos of it, tilted to the user's taste, stand between
    these, `popular_share` of any prefix (:func:`consumers.retrieval.rules.in_turn`).

    Args:
        read: reads queues and their fresh videos.
        taste: what the user clicked.
        popularity: what all users clicked.
        seen: videos that must not come back.
        settings: N_2, N_3, floor, shares of popular and of fresh videos, weight of popularity.
        seed: of the draw of fresh videos.
        popular: the head of the catalogue's queue, at least N_3 and what was seen.
    """
    reasons: dict[str, Reason] = {}
    topics = taste.topics.first(settings.topics)
    zero, number = np.zeros(1, np.int64), settings.candidates
    levels = (
        Level(TOPIC, topics.topic_ids, topics.clicks, topics.clicks, settings.floor),
        parent_level(taste.parents, popularity, settings.parent_prior),
        Level(CATALOGUE, zero, zero, zero),
    )
    for level in levels:
        missing = number - len(reasons)
        if missing and len(level.topic_ids):
            excluded = {*seen, *reasons}
            limits = _limits(level, missing, len(excluded))
            queues = _queues(read, level, limits, settings.fresh_share, seed)
            reasons |= fill(queues, excluded, missing, level.floor)
    if popular is None:
        return reasons
    places = popular.tilted(taste, settings.parent_prior).tolist()
    names = popular.video_ids
    unseen = (place for place in places if names[place] not in seen)
    tilted = {names[place]: place + 1 for place in islice(unseen, number)}
    return in_turn(reasons, tilted, settings.popular_share, number)


def parent_level(parents: TopicCounts, popularity: Popularity, prior: float) -> Level:
    """All parents, in proportion to n + prior * share.

    n are the user's clicks in a parent, `share` its part of all users' clicks: the mean of a
    Dirichlet posterior. A new user's parts are those of everybody's clicks.

    >>> own = TopicCounts(np.array([3, 1]), np.array([6, 2]))
    >>> level = parent_level(own, Popularity([1, 2], [60, 40]), prior=10)
    >>> level.topic_ids.tolist(), level.clicks.tolist(), level.weights.tolist()
    ([1, 3, 2], [2, 6, 0], [8000, 6000, 4000])
    """
    total = sum(popularity.clicks) or 1.0
    shares = dict(zip(popularity.parents, popularity.clicks, strict=True))
    ids = np.array(
        list(dict.fromkeys([*popularity.parents, *parents.topic_ids.tolist()])), np.int64
    )
    clicks = parents.of(ids)
    popular = np.array([shares.get(topic, 0.0) / total for topic in ids.tolist()])
    weights = np.maximum(np.rint(SCALE * (clicks + prior * popular)).astype(np.int64), 1)
    order = np.argsort(-weights, kind="stable")
    return Level(PARENT, ids[order], clicks[order], weights[order])


def _limits(level: Level, missing: int, excluded: int) -> list[int]:
    """How far to read each queue.

    As many as are missing are left of a topic's queue, or the catalogue's, even if all excluded
    ones head it. Parents are read to twice their quotas and a part of what is excluded: what they
    don't give, the catalogue does.
    """
    if level.name == PARENT:
        shares = quotas(level.weights, missing, 0.0)
        return [2 * share + excluded // len(shares) + 1 for share in shares.tolist()]
    return [missing + excluded] * len(level.topic_ids)


def _queues(
    read: QueueReader, level: Level, limits: list[int], share: float, seed: int
) -> list[Queue]:
    """The queues of a level as this request sees them; the catalogue has no fresh videos."""
    ids, number = level.topic_ids.tolist(), len(level.topic_ids)
    names = [queue_name(level.name, topic) for topic in ids]
    if share and level.name != CATALOGUE:
        names += [queue_name(level.name, topic, fresh=True) for topic in ids]
        limits = limits + [POOL] * number
    lists = read(names, limits)
    pools = lists[number:] or [()] * number
    columns = (ids, level.clicks.tolist(), lists[:number], level.weights.tolist(), pools)
    return [
        queue_of_request(Queue(level.name, topic, clicks, videos, (), weight), pool, share, seed)
        for topic, clicks, videos, weight, pool in zip(*columns, strict=True)
    ]
