"""The rules of recall (paper, III-B1) on plain arrays.

Topics of the user, quotas, candidates from queues.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Reason(NamedTuple):
    """Why a video is a candidate.

    Its place (1 is the first) in a topic's queue, and the user's recent clicks in that topic.
    """

    topic_id: int
    position: int
    clicks: int


class TopicCounts(NamedTuple):
    """int64[T] each: topics by falling number of clicks, and those numbers."""

    topic_ids: NDArray[np.int64]
    clicks: NDArray[np.int64]


def count_topics(topic_ids: NDArray[np.int64]) -> TopicCounts:
    """In how many clicked videos each topic appears.

    Ties by the newest click that has it, then by its place in that video.

    Args:
        topic_ids: int64[C, slots], topics of the clicked videos, newest first; -1 in unused slots.
            A click counts once for each of its topics, whatever their weights, as in the paper.

    >>> topic_ids = np.array([[5, 2, -1], [9, 2, 5], [-1, -1, -1], [2, -1, -1]])
    >>> [column.tolist() for column in count_topics(topic_ids)]
    [[2, 5, 9], [3, 2, 1]]
    """
    topics, first, clicks = np.unique(topic_ids, return_index=True, return_counts=True)
    order = np.lexsort((first, -clicks))
    order = order[topics[order] >= 0]
    return TopicCounts(topics[order].astype(np.int64), clicks[order].astype(np.int64))


def quotas(clicks: NDArray[np.int64], candidates: int, floor: float) -> NDArray[np.int64]:
    """int64[T] that add up to `candidates`.

    In proportion to `clicks`, but at least the share `floor` for each topic.

    Where a proportional quota is below the floor it is the floor, and the others share the rest in
    proportion to their clicks. Fractions go to the largest remainders (Hamilton's method), ties to
    the earlier topic. Where the floor is more than an equal part, all get equal parts.

    Args:
        clicks: int64[T]; 0, as for topics that the user never clicked, weighs as 1.
        candidates: N_3.
        floor: share of the candidates, rounded to whole ones.

    >>> # 2 of 128 clicks would be 9 candidates; 540 are left for 126 clicks
    >>> quotas(np.array([70, 40, 16, 2]), 600, 0.1).tolist()
    [300, 171, 69, 60]
    >>> quotas(np.array([1, 1, 1]), 8, 0.9).tolist()
    [3, 3, 2]
    """
    weight = np.maximum(clicks, 1)
    least = min(round(floor * candidates), candidates // len(clicks))
    raised = np.zeros(len(clicks), bool)
    while True:
        share = np.where(
            raised, least, (candidates - least * raised.sum()) * weight / weight[~raised].sum()
        )
        if not (share < least).any():
            break
        raised |= share < least
    whole = np.floor(share).astype(np.int64)
    extra = np.argsort(whole - share, kind="stable")[: candidates - whole.sum()]
    whole[extra] += 1
    return whole


def fill(
    queues: Sequence[Sequence[str]],
    topics: TopicCounts,
    clicked: Collection[str],
    candidates: int,
    floor: float,
) -> dict[str, Reason]:
    """Candidates and their reasons.

    Each topic's quota from the head of its queue, the strongest topic first.

    A video that was clicked, or that an earlier topic gave, is passed over. What queues that run
    out leave open is shared among the others by the same rule, until there are `candidates` of them
    or all queues are empty.

    Args:
        queues: videos of each topic in `topics`, in order.
        topics: the chosen topics (N_2 of them).
        clicked: videos that must not come back.
        candidates: N_3.
        floor: see :func:`quotas`.

    >>> topics = TopicCounts(np.array([5, 9]), np.array([3, 1]))
    >>> reasons = fill([["a", "b", "c", "d", "e"], ["c", "f", "a"]], topics, {"b"}, 4, 0.0)
    >>> [(video, *reason) for video, reason in reasons.items()]
    [('a', 5, 1, 3), ('c', 5, 3, 3), ('d', 5, 4, 3), ('f', 9, 2, 1)]
    """
    reasons: dict[str, Reason] = {}
    offers = [
        ((p, v) for p, v in enumerate(q, 1) if v not in clicked and v not in reasons)
        for q in queues
    ]
    live = np.arange(len(queues))
    while len(live) and len(reasons) < candidates:
        shares = quotas(topics.clicks[live], candidates - len(reasons), floor)
        short = np.zeros(len(live), bool)
        for n, (i, quota) in enumerate(zip(live.tolist(), shares.tolist(), strict=True)):
            before = len(reasons)
            for position, video in islice(offers[i], quota):
                reasons[video] = Reason(int(topics.topic_ids[i]), position, int(topics.clicks[i]))
            short[n] = len(reasons) - before < quota
        live = live[~short]
    return reasons
