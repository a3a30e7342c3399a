"""Recall of many users at once: what :class:`consumers.retrieval.Recall` gives each of them.

The rules are those of :mod:`consumers.retrieval.choosing`; a test compares all places of the lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.policies.catalog import Catalog
from consumers.policies.queues import DayQueues, open_queues
from consumers.policies.recall_kernels import DayArrays, Rules, count_clicks, recall_block
from consumers.retrieval.choosing import POOL, SCALE
from consumers.retrieval.tilting import Slots
from vidtopics.settings import RecallSettings, Settings
from vidtopics.simulation.platform import Platform

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float64]
DRAWS = 64
"""Seeds of the draw of fresh videos in a day; a user's is that of its number modulo this."""


class Recalled(NamedTuple):
    """Candidates of n users: int32[n, N_3] in recall's order, -1 behind the last."""

    videos: Codes
    counts: Ints


class ManyRecall:
    """Candidate generation from topic queues for thousands of users.

    Deterministic in the platform, the user and the day: `seeds` of a day take the place of a
    request's.
    """

    def __init__(self, catalog: Catalog, settings: Settings, recall: RecallSettings) -> None:
        self.catalog, self.settings, self.recall = catalog, settings, recall
        self._rules = Rules(
            recall.candidates,
            recall.recent_clicks,
            recall.topics,
            recall.floor,
            recall.fresh_share,
            recall.popular_share,
            recall.parent_prior,
            recall.leave_out == "clicked",
            POOL,
            SCALE,
        )
        self.queues: DayQueues
        self.seeds: Sequence[int] = ()

    def open_day(self, day: int, platform: Platform) -> None:
        """Make the queues of a platform's midnight."""
        self.seeds = [day * DRAWS + draw for draw in range(DRAWS)]
        self.queues = open_queues(platform, self.catalog, self.settings, self.recall, self.seeds)
        self._day = _as_arrays(self.queues, self.catalog)
        self._levels = [
            _Lifts(slots, ids)
            for slots, ids in (
                (self.queues.popular.topics, self.catalog.topic_ids),
                (self.queues.popular.parents, self.catalog.parent_ids),
            )
        ]

    def recall_users(self, users: Ints, platform: Platform) -> Recalled:
        """The candidates of n users as of now."""
        rows, catalog, rules = platform.users, self.catalog, self._rules
        topics = np.zeros((len(users), len(catalog.topic_ids)), np.int64)
        parents = np.zeros((len(users), len(catalog.parent_ids)), np.int64)
        clicks = np.zeros(len(users), np.int64)
        videos = len(catalog.ids)
        count_clicks(
            users,
            rows.video,
            rows.clicked,
            rows.shown,
            catalog.topic_codes,
            catalog.parent_codes,
            rules.recent,
            videos,
            topics,
            parents,
            clicks,
        )
        topic_lift, parent_lift = (
            level.log_lift(counts, clicks, rules.parent_prior)
            for level, counts in zip(self._levels, (topics, parents), strict=True)
        )
        out = np.full((len(users), rules.candidates), -1, np.int32)
        counts = np.zeros(len(users), np.int64)
        recall_block(
            users,
            rows.video,
            rows.clicked,
            rows.shown,
            catalog.topic_codes,
            catalog.parent_codes,
            rules,
            self._day,
            topics,
            parents,
            topic_lift,
            parent_lift,
            out,
            counts,
        )
        return Recalled(out, counts)


class _Lifts:
    """Log-lifts of the topics of popular videos for many users (:meth:`Slots.log_lift`)."""

    def __init__(self, slots: Slots, ids: Ints) -> None:
        self._codes = np.searchsorted(ids, slots.ids)
        self._shares = np.maximum(slots.shares, 1e-12)

    def log_lift(self, counts: Ints, clicks: Ints, prior: float) -> Floats:
        """float64[n, T + 1] of each topic of the popular videos, 0 behind them."""
        shares = self._shares
        lift = (counts[:, self._codes] + prior * shares) / ((clicks[:, None] + prior) * shares)
        padded: Floats = np.zeros((len(counts), len(shares) + 1))
        padded[:, :-1] = np.log(np.maximum(lift, 1e-12))
        return padded


def _as_arrays(queues: DayQueues, catalog: Catalog) -> DayArrays:
    popularity, popular = queues.popularity, queues.popular
    total = sum(popularity.clicks) or 1.0
    order = np.searchsorted(catalog.parent_ids, np.array(popularity.parents, np.int64))
    shares = np.zeros(len(catalog.parent_ids))
    shares[order] = np.array(popularity.clicks) / total
    return DayArrays(
        queues.ranked.starts,
        queues.ranked.videos,
        queues.fresh.starts,
        queues.draws,
        order.astype(np.int64),
        shares,
        queues.head,
        np.log(np.maximum(popular.clicks, 1e-12)),
        popular.topics.places.astype(np.int32),
        popular.parents.places.astype(np.int32),
    )
