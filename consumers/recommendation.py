"""Recall, then rank: what a recommendation service does within one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.epochs import left_out, of_epoch
from consumers.retrieval.recall import Candidates, Recall
from consumers.retrieval.rules import Reason
from vidtopics.contracts import SERVICES
from vidtopics.online import Features, OnlineClient
from vidtopics.settings import RecallSettings

VIEWS = tuple(table.name for table in SERVICES["ranking_v1"])
NO_STATISTICS = "no statistics"


class Scorer(Protocol):
    """A ranking model, as `consumers.ranking` loads it."""

    def score(
        self,
        user_id: str,
        history: Sequence[str],
        history_topics: Features,
        candidates: Sequence[str],
        topics: Features,
        statistics: Features,
    ) -> NDArray[np.float32]:
        """float32[N]: click probability of each candidate."""


@dataclass(frozen=True)
class Recommended:
    """A video with its click probability and the reason why recall took it."""

    video_id: str
    score: float
    reason: Reason


@dataclass(frozen=True)
class Recommendation:
    """The best videos for a user, best first.

    Attributes:
        user_id: who for.
        videos: best first; equal scores in the order of recall.
        clicks: recent clicks that recall started from.
        candidates: videos that were scored.
        popular: empty, or why recall fell back to popular topics.
        left_out: recent clicks that count in no topic, and candidates without a score, by cause.
    """

    user_id: str
    videos: tuple[Recommended, ...]
    clicks: int
    candidates: int
    popular: str
    left_out: Mapping[str, Mapping[str, int]]


def recommend(
    client: OnlineClient, ranker: Scorer, settings: RecallSettings, user_id: str, *, top: int
) -> Recommendation:
    """The `top` candidates by click probability; one round trip more than recall's.

    A candidate without present features is not scored but counted: it was taken down after its
    queue was made, or its topics are of another epoch.

    Raises:
        StoreError: nothing was materialised under the client's prefix.
        redis.exceptions.RedisError: the server can't be reached.
    """
    candidates = Recall(client, settings).recall(user_id)
    ids = candidates.video_ids
    features = client.read_views(VIEWS, ids)
    topics, statistics = (
        of_epoch(features["video_topics"], candidates.epoch),
        features["video_statistics"],
    )
    usable = topics.present & statistics.present
    scores = _scores(client, ranker, candidates, topics, statistics)
    best = [i for i in np.argsort(-scores, kind="stable").tolist() if usable[i]][:top]
    videos = tuple(Recommended(ids[i], float(scores[i]), candidates.reasons[ids[i]]) for i in best)
    refused = left_out(features["video_topics"], candidates.epoch)
    if without := int((topics.present & ~statistics.present).sum()):
        refused[NO_STATISTICS] = without
    counted = {"clicks": candidates.left_out, "candidates": refused}
    return Recommendation(
        user_id, videos, len(candidates.history), int(usable.sum()), candidates.popular, counted
    )


def _scores(
    client: OnlineClient,
    ranker: Scorer,
    candidates: Candidates,
    topics: Features,
    statistics: Features,
) -> NDArray[np.float32]:
    if not candidates.reasons:
        return np.zeros(0, np.float32)
    history_topics = (
        client.read("video_topics", [])
        if candidates.history_topics is None
        else candidates.history_topics
    )
    return ranker.score(
        candidates.user_id,
        candidates.history,
        history_topics,
        candidates.video_ids,
        topics,
        statistics,
    )
