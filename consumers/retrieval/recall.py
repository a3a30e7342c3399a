"""Recall against the online store.

Three round trips from a user to candidates with their reasons, all of one release: topics of one
and queues of another could name other things by the same number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.epochs import common_epoch, left_out, of_epoch
from consumers.retrieval.rules import Reason, TopicCounts, count_topics, fill
from vidtopics.online import Features, OnlineClient
from vidtopics.settings import RecallSettings
from vidtopics.times import micros

NO_TOPIC = "no topic"
NEW_USER = "new user"
NO_TOPICS = "no recent click has a current topic"
NOTHING_NEW = "nothing new in the queues of the clicked topics"


@dataclass(frozen=True)
class Candidates:
    """Videos for the ranking model, each with its reason.

    Attributes:
        user_id: who for.
        reasons: of each candidate, in the order in which recall took them.
        epoch: of the topics in `reasons`.
        clicks: the user's recently clicked videos (N_1 at most), newest first.
        history_topics: feature view `video_topics` of `clicks`, without topics of another epoch.
        popular: empty, or why the topics are popular ones instead of the user's own.
        left_out: clicks that count in no topic, by cause.
        at_us: when the request was made; ages and decays are taken to this time.
    """

    user_id: str
    reasons: Mapping[str, Reason]
    epoch: int
    clicks: Sequence[str]
    history_topics: Features = field(repr=False)
    popular: str
    left_out: Mapping[str, int]
    at_us: int

    @property
    def video_ids(self) -> list[str]:
        """The candidates."""
        return list(self.reasons)


class Recall:
    """Candidate generation from topic queues (III-B1).

    The user's topics are the N_2 that appear in most of the N_1 recent clicks; their queues give
    N_3 candidates in proportion (:func:`consumers.retrieval.rules.fill`). Topic IDs of two epochs
    are never compared: the epoch is that of most clicks, and a click with topics of another one is
    left out and counted. A user without clicks, whose clicks have no topics, or to whom those
    queues have nothing new to offer, gets the N_2 most popular topics in equal parts, and `popular`
    says why.
    """

    def __init__(self, client: OnlineClient, settings: RecallSettings) -> None:
        self.client = client
        self.settings = settings

    def recall(self, user_id: str, *, at_us: int | None = None) -> Candidates:
        """Candidates for a user: one read of the clicks, one of their topics, one of the queues.

        Args:
            user_id: who for; unknown ones get what a new user gets.
            at_us: when the request is made; None: now.

        Raises:
            StoreError: nothing was materialised under the client's prefix, or the release that the
                topics came from is gone before its queues were read.
            redis.exceptions.RedisError: the server can't be reached.
        """
        release = self.client.snapshot()
        clicks = release.recent_clicks(user_id)[: self.settings.recent_clicks]
        topics = release.read("video_topics", clicks)
        epoch, popular = common_epoch(topics), ""
        reasons = self._from_queues(release, self._chosen(of_epoch(topics, epoch)), epoch, clicks)
        if not reasons:
            epoch, reasons = self._popular(release, clicks)
            popular = _why_popular(clicks, of_epoch(topics, epoch))
        return Candidates(
            user_id=user_id,
            reasons=reasons,
            epoch=epoch,
            clicks=clicks,
            history_topics=of_epoch(topics, epoch),
            popular=popular,
            left_out=_uncounted(topics, epoch),
            at_us=micros(datetime.now(UTC)) if at_us is None else at_us,
        )

    def _popular(
        self, release: OnlineClient, clicks: Sequence[str]
    ) -> tuple[int, dict[str, Reason]]:
        catalogue = release.catalogue()
        popular = catalogue.topics[: self.settings.topics]
        chosen = TopicCounts(np.array(popular, np.int64), np.zeros(len(popular), np.int64))
        return catalogue.epoch, self._from_queues(release, chosen, catalogue.epoch, clicks)

    def _chosen(self, topics: Features) -> TopicCounts:
        counts = count_topics(cast("NDArray[np.int64]", topics["topic_ids"]))
        return TopicCounts(*(column[: self.settings.topics] for column in counts))

    def _from_queues(
        self, release: OnlineClient, topics: TopicCounts, epoch: int, clicks: Sequence[str]
    ) -> dict[str, Reason]:
        if not len(topics.topic_ids):
            return {}
        # N_3 are left of one queue even if all of `clicks` heads it.
        limit = self.settings.candidates + len(clicks)
        queues = release.queues(topics.topic_ids.tolist(), epoch=epoch, limit=limit)
        return fill(queues, topics, set(clicks), self.settings.candidates, self.settings.floor)


def _why_popular(clicks: Sequence[str], topics: Features) -> str:
    if not clicks:
        return NEW_USER
    return NOTHING_NEW if topics["topic_count"].any() else NO_TOPICS


def _uncounted(topics: Features, epoch: int) -> dict[str, int]:
    """Clicks that count in no topic of the epoch, by cause."""
    without = int((of_epoch(topics, epoch).present & np.equal(topics["topic_count"], 0)).sum())
    return left_out(topics, epoch) | ({NO_TOPIC: without} if without else {})
