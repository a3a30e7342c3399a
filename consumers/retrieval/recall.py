"""Recall against the online store.

Three or four round trips from a user to candidates with their reasons, all of one release: topics
of one and queues of another could name other things by the same number.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.choosing import Taste, choose
from consumers.retrieval.epochs import left_out, of_epoch
from consumers.retrieval.rules import Reason, TopicCounts, count_topics
from vidtopics.online import Features, OnlineClient
from vidtopics.settings import RecallSettings
from vidtopics.times import micros

NO_TOPIC = "no topic"
NEW_USER = "new user"
NO_TOPICS = "no recent click has a current topic"


@dataclass(frozen=True)
class Candidates:
    """Videos for the ranking model, each with its reason.

    Attributes:
        user_id: who for.
        reasons: of each candidate, in the order in which recall took them.
        epoch: of the topics in `reasons`.
        clicks: the user's recently clicked videos (N_1 at most), newest first.
        history_topics: feature view `video_topics` of `clicks`, without topics of another epoch.
        popular: empty, or why parents are popular ones instead of the user's own.
        left_out: clicks that count in no topic, by cause.
        at_us: when the request was made; ages and decays are taken to this time.
        seed: of the draw of fresh videos; with it the same queues give the same candidates.
    """

    user_id: str
    reasons: Mapping[str, Reason]
    epoch: int
    clicks: Sequence[str]
    history_topics: Features = field(repr=False)
    popular: str
    left_out: Mapping[str, int]
    at_us: int
    seed: int

    @property
    def video_ids(self) -> list[str]:
        """The candidates."""
        return list(self.reasons)


class Recall:
    """Candidate generation from topic queues (III-B1).

    The user's topics are the N_2 that appear in most of the N_1 recent clicks; their queues give
    N_3 candidates in proportion, topped up from their parents and the whole catalogue
    (:func:`consumers.retrieval.choosing.choose`). Topic IDs of two epochs are never compared: a
    click with topics of another epoch than the queues' is left out and counted. A user without
    clicks, or whose clicks have no topics, gets the popular videos of each parent topic, and
    `popular` says why.
    """

    def __init__(self, client: OnlineClient, settings: RecallSettings) -> None:
        self.client = client
        self.settings = settings

    def recall(
        self, user_id: str, *, at_us: int | None = None, seed: int | None = None
    ) -> Candidates:
        """Candidates for a user: one read of the clicks, one of their topics, one of each level.

        Args:
            user_id: who for; unknown ones get what a new user gets.
            at_us: when the request is made; None: now.
            seed: of the draw of fresh videos; None: a new one.

        Raises:
            StoreError: nothing was materialised under the client's prefix, or the release that the
                topics came from is gone before its queues were read.
            redis.exceptions.RedisError: the server can't be reached.
        """
        seed = secrets.randbits(63) if seed is None else seed
        at_us = micros(datetime.now(UTC)) if at_us is None else at_us
        release = self.client.snapshot()
        clicks = release.recent_clicks(user_id)[: self.settings.recent_clicks]
        topics = release.read("video_topics", clicks)
        catalogue = release.catalogue()
        current = of_epoch(topics, catalogue.epoch)
        own, popular = taste_of(current), ""
        if not len(own.topics.topic_ids):
            own = Taste(TopicCounts.unclicked(()), TopicCounts.unclicked(catalogue.parents))
            popular = NO_TOPICS if clicks else NEW_USER

        def read(names: Sequence[str], limits: Sequence[int]) -> list[list[str]]:
            return release.queues(names, epoch=catalogue.epoch, limit=limits)

        return Candidates(
            user_id=user_id,
            reasons=choose(read, own, set(clicks), self.settings, seed),
            epoch=catalogue.epoch,
            clicks=clicks,
            history_topics=current,
            popular=popular,
            left_out=_uncounted(topics, catalogue.epoch),
            at_us=at_us,
            seed=seed,
        )


def taste_of(topics: Features) -> Taste:
    """Topics and parents of clicked videos, newest first, by falling number of clicks."""
    slots = (topics["topic_ids"], topics["parent_topic_ids"])
    return Taste(*(count_topics(cast("NDArray[np.int64]", ids)) for ids in slots))


def _uncounted(topics: Features, epoch: int) -> dict[str, int]:
    """Clicks that count in no topic of the epoch, by cause."""
    without = int((of_epoch(topics, epoch).present & np.equal(topics["topic_count"], 0)).sum())
    return left_out(topics, epoch) | ({NO_TOPIC: without} if without else {})
