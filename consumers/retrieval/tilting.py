"""What is popular with all, tilted to what one user clicked: popularity times lift of topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.rules import TopicCounts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Taste(NamedTuple):
    """The user's topics and parents, each by falling number of clicks; clicks that have any."""

    topics: TopicCounts
    parents: TopicCounts
    clicks: int


class Slots(NamedTuple):
    """Topics, or parents, of L videos.

    Attributes:
        ids: int64[T], ascending.
        places: int64[L, S], of each slot's topic among `ids`; T in unused slots.
        shares: float64[T], of all clicks on these videos those on videos of the topic.
        used: int64[L], slots in use, 1 where there are none.
    """

    ids: Ints
    places: Ints
    shares: Floats
    used: Ints

    @classmethod
    def of(cls, slots: Ints, clicks: Floats) -> Slots:
        """From int64[L, S], -1 in unused slots; a topic counts once for a video.

        >>> slots = Slots.of(np.array([[7, 3], [3, 3], [-1, -1]]), np.array([3.0, 1.0, 4.0]))
        >>> slots.ids.tolist(), slots.places.tolist(), slots.shares.tolist()
        ([3, 7], [[1, 0], [0, 2], [2, 2]], [0.5, 0.375])
        """
        earlier = np.tri(slots.shape[1], k=-1, dtype=bool)
        repeated = ((slots[:, :, None] == slots[:, None, :]) & earlier).any(axis=2)
        used = (slots >= 0) & ~repeated
        ids, places = np.unique(slots[used], return_inverse=True)
        filled = np.full(slots.shape, len(ids))
        filled[used] = places
        count = used.sum(1)
        sums = np.bincount(places, np.repeat(clicks, count), len(ids))
        return cls(ids, filled, sums / max(clicks.sum(), 1e-12), np.maximum(count, 1))

    def log_lift(self, counts: TopicCounts, clicks: int, prior: float) -> Floats:
        """float64[L], the mean over a video's topics of log((n + c s) / ((N + c) s)); 0: none.

        n of the user's N clicks are in a topic, s is its share of all users' clicks: by how much
        the user clicks there more often than all, a Dirichlet posterior's mean over the prior's.
        """
        shares = np.maximum(self.shares, 1e-12)
        lift = (counts.of(self.ids) + prior * shares) / ((clicks + prior) * shares)
        padded = np.append(np.log(np.maximum(lift, 1e-12)), 0.0)
        log_lift: Floats = padded[self.places].sum(1) / self.used
        return log_lift


@dataclass(frozen=True, eq=False)
class Popular:
    """The catalogue's L most popular videos, in their order.

    Attributes:
        video_ids: of the catalogue's queue, from its head.
        clicks: float64[L], decayed.
        topics, parents: of them.
    """

    video_ids: Sequence[str]
    clicks: Floats
    topics: Slots
    parents: Slots

    @classmethod
    def of(cls, video_ids: Sequence[str], clicks: Floats, topics: Ints, parents: Ints) -> Popular:
        """From the topics and parents of each video, int64[L, S], -1 in unused slots."""
        return cls(video_ids, clicks, Slots.of(topics, clicks), Slots.of(parents, clicks))

    def tilted(self, taste: Taste, prior: float) -> Ints:
        """int64[L], the places by falling clicks times lift, ties in the order of the queue.

        The lift is the geometric mean of that of the video's topics and that of its parents. For a
        user without clicks in topics, or with a great prior, the order is that of the queue.

        >>> clicks = np.array([9.0, 8.0, 3.0])
        >>> topics = np.array([[1], [2], [2]])
        >>> popular = Popular.of("abc", clicks, topics, topics + 10)
        >>> fan = [TopicCounts(np.array([topic]), np.array([6])) for topic in (2, 12)]
        >>> [popular.tilted(Taste(*fan, 6), prior).tolist() for prior in (1.0, 10.0, 1e9)]
        [[1, 2, 0], [1, 0, 2], [0, 1, 2]]
        """
        parts = ((self.topics, taste.topics), (self.parents, taste.parents))
        lifts = [slots.log_lift(counts, taste.clicks, prior) for slots, counts in parts]
        score = np.log(np.maximum(self.clicks, 1e-12)) + (lifts[0] + lifts[1]) / 2
        return np.argsort(-score, kind="stable")
