"""The rules of recall (paper, III-B1) on plain arrays.

Topics of the user, quotas, fresh videos, candidates from queues.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.contracts import CATALOGUE, PARENT, TOPIC

LEVELS = (TOPIC, PARENT, CATALOGUE)


class Reason(NamedTuple):
    """Why a video is a candidate.

    Attributes:
        level: of the queue that gave it: topic, parent or catalogue.
        topic_id: the topic or parent topic; 0 for the catalogue.
        position: its place in the queue, 1 is the first.
        clicks: the user's recent clicks in that topic or parent; 0 where it is popular instead.
        fresh: whether it was drawn from the queue's fresh videos.
    """

    level: str
    topic_id: int
    position: int
    clicks: int
    fresh: bool = False


class TopicCounts(NamedTuple):
    """int64[T] each: topics by falling number of clicks, and those numbers."""

    topic_ids: NDArray[np.int64]
    clicks: NDArray[np.int64]

    def first(self, number: int) -> TopicCounts:
        """The strongest ones."""
        return TopicCounts(self.topic_ids[:number], self.clicks[:number])

    def of(self, topic_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[N]: the clicks of some topics; 0 where there are none."""
        clicks = dict(zip(self.topic_ids.tolist(), self.clicks.tolist(), strict=True))
        return np.array([clicks.get(topic, 0) for topic in topic_ids.tolist()], np.int64)


class Queue(NamedTuple):
    """A queue as one request sees it: its videos in order, and which of them are fresh.

    Its quota is in proportion to `weight`, or to `clicks` where that is 0.
    """

    level: str
    topic_id: int
    clicks: int
    videos: Sequence[str]
    fresh: Collection[str] = ()
    weight: int = 0


def count_topics(topic_ids: NDArray[np.int64]) -> TopicCounts:
    """In how many clicked videos each topic appears.

    Ties by the newest click that has it, then by its place in that video.

    Args:
        topic_ids: int64[C, slots], topics of the clicked videos, newest first; -1 in unused slots.
            A click counts once for each of its topics, whatever their weights, as in the paper, and
            once for a parent that several of its topics have.

    >>> topic_ids = np.array([[5, 2, -1], [9, 2, 5], [-1, -1, -1], [2, 2, -1]])
    >>> [column.tolist() for column in count_topics(topic_ids)]
    [[2, 5, 9], [3, 2, 1]]
    """
    slots = topic_ids.shape[1]
    earlier = np.tri(slots, k=-1, dtype=bool)
    repeated = ((topic_ids[:, :, None] == topic_ids[:, None, :]) & earlier).any(axis=2)
    distinct = np.where(repeated, -1, topic_ids)
    topics, first, clicks = np.unique(distinct, return_index=True, return_counts=True)
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


def queue_of_request(queue: Queue, pool: Sequence[str], share: float, seed: int) -> Queue:
    """The queue with some of its fresh videos, drawn for this request.

    Args:
        queue: without fresh ones.
        pool: the queue's fresh videos.
        share: of the whole queue that is fresh (:func:`fresh_count`); they are spread evenly, so
            that every prefix has its share of them.
        seed: of the request; the draw depends on it, the queue and the pool alone.

    >>> queue = Queue("topic", 5, 1, ["a", "b", "c", "d"])
    >>> drawn = queue_of_request(queue, ["x", "y", "z"], 0.2, seed=7)
    >>> drawn.videos, sorted(drawn.fresh), drawn == queue_of_request(queue, ["x", "y", "z"], 0.2, 7)
    (['a', 'b', 'y', 'c', 'd'], ['y'], True)
    """
    count = fresh_count(len(queue.videos), len(pool), share)
    if not count:
        return queue
    rng = np.random.default_rng([seed, LEVELS.index(queue.level), queue.topic_id])
    drawn = [pool[i] for i in rng.permutation(len(pool))[:count].tolist()]
    ranked, fresh = iter(queue.videos), iter(drawn)
    places = fresh_places(len(queue.videos) + count, count).tolist()
    videos = [next(fresh if is_fresh else ranked) for is_fresh in places]
    return queue._replace(videos=videos, fresh=frozenset(drawn))


def fresh_count(ranked: int, pool: int, share: float) -> int:
    """How many fresh videos stand among `ranked` ones.

    "These fresh videos account for 10% of all remaining videos in this queue": with share s of the
    whole queue, s / (1 - s) for each ranked video, rounded. A queue with few ranked videos, as of a
    new topic, is filled up to ceil(1 / s) videos, the shortest queue of which s is a whole video:
    otherwise no topic could start. With s = 0 there are none.

    >>> [fresh_count(ranked, 1_000, 0.1) for ranked in (0, 4, 9, 90, 900)]
    [10, 6, 1, 10, 100]
    >>> fresh_count(90, 3, 0.1), fresh_count(0, 1_000, 0.0)
    (3, 0)
    """
    if share == 0:
        return 0
    by_share = round(share / (1 - share) * ranked)
    shortest = ceil(min(1 / share, ranked + pool))
    return min(max(by_share, shortest - ranked), pool)


def fresh_places(videos: int, fresh: int) -> NDArray[np.bool_]:
    """bool[videos], true at the middle of each of `fresh` equal stretches of the queue.

    Any first p places have p * fresh / videos fresh ones, give or take half a video.

    >>> np.flatnonzero(fresh_places(20, 2)).tolist(), np.flatnonzero(fresh_places(3, 3)).tolist()
    ([5, 15], [0, 1, 2])
    """
    places = np.zeros(videos, bool)
    places[(2 * np.arange(fresh) + 1) * videos // (2 * max(fresh, 1))] = True
    return places


def fill(
    queues: Sequence[Queue], excluded: Collection[str], candidates: int, floor: float
) -> dict[str, Reason]:
    """Candidates and their reasons.

    Each queue's quota from its head; a video that is excluded, or that an earlier queue gave, is
    passed over. What queues that run out leave open is shared among the others by the same rule,
    until there are `candidates` of them or all queues are empty. They are returned so that every
    prefix has each queue's share: the i-th of a queue's n candidates stands at (i - 1/2) / n.

    Args:
        queues: the strongest first.
        excluded: videos that must not come back.
        candidates: how many.
        floor: see :func:`quotas`.

    >>> queues = [Queue("topic", 5, 3, ["a", "b", "c", "d", "e"]), Queue("topic", 9, 1, ["c", "f"])]
    >>> reasons = fill(queues, {"b"}, 4, 0.0)
    >>> [(video, reason.topic_id, reason.position) for video, reason in reasons.items()]
    [('a', 5, 1), ('c', 5, 3), ('f', 9, 2), ('d', 5, 4)]
    """
    taken: dict[str, tuple[int, Reason]] = {}
    offers = [
        ((p, v) for p, v in enumerate(q.videos, 1) if v not in excluded and v not in taken)
        for q in queues
    ]
    weights, counts = np.array([q.weight or q.clicks for q in queues]), [0] * len(queues)
    live = np.arange(len(queues))
    while len(live) and len(taken) < candidates:
        shares = quotas(weights[live], candidates - len(taken), floor)
        short = np.zeros(len(live), bool)
        for n, (i, quota) in enumerate(zip(live.tolist(), shares.tolist(), strict=True)):
            before, q = len(taken), queues[i]
            for position, video in islice(offers[i], quota):
                fresh = video in q.fresh
                taken[video] = i, Reason(q.level, q.topic_id, position, q.clicks, fresh)
            counts[i] += len(taken) - before
            short[n] = len(taken) - before < quota
        live = live[~short]
    return _interleaved(taken, counts)


def in_turn(
    own: Mapping[str, Reason], popular: Mapping[str, int], share: float, number: int
) -> dict[str, Reason]:
    """The union of candidates and of popular videos, whose place in the catalogue's queue is given.

    Cut to `number`: of any prefix `share` comes from the popular ones.

    The i-th of the first stands at (i - 1/2) / (1 - share), the i-th of the second at
    (i - 1/2) / share, ties by the first. A video that both have stands at its earlier place, with
    the reason of the first.

    >>> own = {video: Reason("topic", 5, 1, 3) for video in "abcd"}
    >>> popular = {"x": 1, "b": 2, "y": 3, "z": 4}
    >>> "".join(in_turn(own, popular, 0.5, 6)), "".join(in_turn(own, popular, 0.25, 6))
    ('axbcyd', 'abxcdy')
    >>> union = in_turn(own, popular, 0.5, 4)
    >>> union["b"].level, union["x"]
    ('topic', Reason(level='catalogue', topic_id=0, position=1, clicks=0, fresh=False))
    """
    parts = [list(islice(videos, number)) for videos in (own, popular)]  # no more can matter
    order = np.argsort(
        np.concatenate(
            [
                (np.arange(len(videos)) + 0.5) / part if part else np.full(len(videos), np.inf)
                for part, videos in zip((1 - share, share), parts, strict=True)
            ]
        ),
        kind="stable",
    )
    videos = [*parts[0], *parts[1]]
    union = dict.fromkeys([videos[place] for place in order.tolist()])
    return {
        video: own.get(video) or Reason(CATALOGUE, 0, popular[video], 0)
        for video in islice(union, number)
    }


def _interleaved(taken: dict[str, tuple[int, Reason]], counts: Sequence[int]) -> dict[str, Reason]:
    rank, places = [0] * len(counts), []
    for i, _ in taken.values():
        rank[i] += 1
        places.append((rank[i] - 0.5) / counts[i])
    videos = list(taken)
    order = np.argsort(np.array(places), kind="stable").tolist()
    return {videos[i]: taken[videos[i]][1] for i in order}
