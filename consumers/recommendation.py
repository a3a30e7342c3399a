"""Recall, then rank: what a recommendation service does within one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.live import LivePart, LiveStore
from consumers.retrieval.epochs import left_out, of_epoch
from consumers.retrieval.recall import Candidates, Recall, Store
from consumers.retrieval.rules import Reason
from vidtopics.contracts import SERVICES, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.online import Features

VIEWS = tuple(table.name for table in SERVICES["ranking_v2"])
NO_STATISTICS = "no statistics"
LABEL_TERMS = 3
"""Of a topic in words."""


class Scorer(Protocol):
    """A ranking model inside a request, as `consumers.ranking` loads it."""

    def score(
        self, candidates: Candidates, features: Mapping[str, Features]
    ) -> NDArray[np.float32]:
        """float32[N]: click probability of each candidate.

        Args:
            candidates: N videos of one user, with the history that recall read.
            features: feature views by name, as one read gave them: a row for each candidate in
                views of entity `video`, one row in views of entity `user`. Rows that aren't
                present count as nothing known; topics are of `candidates.epoch` alone.
        """


@dataclass(frozen=True)
class Recommended:
    """A video with its click probability and the reason why recall took it.

    The probability is None where no model scored: then videos stand in the order of recall.
    """

    video_id: str
    score: float | None
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
        live: since when events count beside the release, and how many of the user's do; None: the
            release alone.
    """

    user_id: str
    videos: tuple[Recommended, ...]
    clicks: int
    candidates: int
    popular: str
    left_out: Mapping[str, Mapping[str, int]]
    live: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Gathered:
    """What a request is answered from, before a model has scored it; all of one release.

    Attributes:
        candidates: N of them.
        features: the views of `ranking_v2` that the store has.
        live: the events since the release that they were made with; None: none are live.
    """

    candidates: Candidates
    features: Mapping[str, Features]
    live: LivePart | None = field(default=None, kw_only=True)

    def score(self, ranker: Scorer) -> NDArray[np.float32]:
        """float32[N]: what a ranker says, who sees topics of the candidates' epoch alone."""
        if not self.candidates.video_ids:
            return np.zeros(0, np.float32)
        topics = of_epoch(self.features[VIDEO_TOPICS.name], self.candidates.epoch)
        return ranker.score(self.candidates, {**self.features, VIDEO_TOPICS.name: topics})


@dataclass(frozen=True)
class Answer(Gathered):
    """All that a request was answered from, for a log that can be replayed.

    Attributes:
        scores: float32[N], click probabilities.
    """

    scores: NDArray[np.float32]


def gather(
    recall: Recall,
    release: Store,
    user_id: str,
    *,
    at_us: int | None = None,
    seed: int | None = None,
) -> Gathered:
    """Candidates and their features.

    Args:
        recall: over a store; a service keeps it between requests.
        release: a snapshot, which all reads are of; a :class:`consumers.live.LiveStore` over one
            for what events did since.
        user_id: who for.
        at_us: when the request is made; None: now.
        seed: of the draw of fresh videos; None: a new one.

    Raises:
        StoreError: nothing was materialised under the client's prefix.
        redis.exceptions.RedisError: the server can't be reached.
    """
    candidates = recall.recall_from(release, user_id, at_us=at_us, seed=seed)
    views = release.directory().views
    ids = {"video": candidates.video_ids, "user": [user_id]}
    features = release.read_entities([view for view in VIEWS if view in views], ids)
    live = release.part if isinstance(release, LiveStore) else None
    return Gathered(candidates, dict(features), live=live)


def answer(
    recall: Recall,
    ranker: Scorer,
    user_id: str,
    *,
    at_us: int | None = None,
    seed: int | None = None,
) -> Answer:
    """Candidates, their features and scores; raises as :func:`gather`."""
    given = gather(recall, recall.client.snapshot(), user_id, at_us=at_us, seed=seed)
    return Answer(given.candidates, given.features, given.score(ranker), live=given.live)


def recommend(
    recall: Recall,
    ranker: Scorer,
    user_id: str,
    *,
    top: int,
    seed: int | None = None,
) -> Recommendation:
    """The `top` candidates by click probability; one round trip more than recall's.

    A candidate without present features is not scored but counted: it was taken down after its
    queue was made, or its topics are of another epoch. Raises as :func:`gather`.
    """
    given = answer(recall, ranker, user_id, seed=seed)
    return best_of(given, given.scores, top=top)


def best_of(given: Gathered, scores: NDArray[np.float32] | None, *, top: int) -> Recommendation:
    """The `top` candidates by their scores; without scores the first in the order of recall."""
    candidates, ids = given.candidates, given.candidates.video_ids
    statistics = given.features[VIDEO_STATISTICS.name]
    topics = of_epoch(given.features[VIDEO_TOPICS.name], candidates.epoch)
    refused = left_out(given.features[VIDEO_TOPICS.name], candidates.epoch)
    usable = topics.present & statistics.present
    order = np.arange(len(ids)) if scores is None else np.argsort(-scores, kind="stable")
    best = [i for i in order.tolist() if usable[i]][:top]
    videos = tuple(
        Recommended(
            ids[i], None if scores is None else float(scores[i]), candidates.reasons[ids[i]]
        )
        for i in best
    )
    if without := int((topics.present & ~statistics.present).sum()):
        refused[NO_STATISTICS] = without
    counted = {"clicks": candidates.left_out, "candidates": refused}
    return Recommendation(
        candidates.user_id,
        videos,
        len(candidates.clicks),
        int(usable.sum()),
        candidates.popular,
        counted,
        given.live.report() if given.live else None,
    )


def report_of(recommendation: Recommendation, videos: list[dict[str, Any]]) -> dict[str, Any]:
    """A recommendation in plain values for JSON.

    Args:
        recommendation: the whole.
        videos: its videos in plain values (:func:`row_of`).
    """
    return {
        "user_id": recommendation.user_id,
        "videos": videos,
        "clicks": recommendation.clicks,
        "candidates": recommendation.candidates,
        "popular": recommendation.popular,
        "left_out": {what: dict(causes) for what, causes in recommendation.left_out.items()},
        "live": recommendation.live,
    }


def row_of(rank: int, video: Recommended, terms: Sequence[str], popular: str) -> dict[str, Any]:
    """A recommended video in plain values for JSON.

    Args:
        rank: 1 is the best.
        video: with its reason.
        terms: label of the reason's topic.
        popular: why recall fell back to popular topics; empty where it didn't.
    """
    reason = video.reason
    return {
        "rank": rank,
        "video_id": video.video_id,
        "score": video.score,
        "level": reason.level,
        "topic_id": reason.topic_id,
        "label_terms": list(terms),
        "queue_position": reason.position,
        "topic_clicks": reason.clicks,
        "fresh": reason.fresh,
        "reason": because(reason, terms, popular),
    }


def because(reason: Reason, terms: Sequence[str], popular: str) -> str:
    """The reason in words.

    >>> label = ["soccer", "goal", "keeper", "cup"]
    >>> because(Reason("topic", 17, position=3, clicks=7), label, popular="")
    'because you clicked 7 videos of topic 17 (soccer, goal, keeper); queue place 3'
    >>> because(Reason("parent", 2, position=3, clicks=7, fresh=True), [], popular="")
    'because you clicked 7 videos of topic group 2; fresh, queue place 3'
    >>> because(Reason("parent", 2, position=3, clicks=0), ["sports"], popular="new user")
    'new user: popular in topic group 2 (sports); queue place 3'
    >>> because(Reason("parent", 5, position=3, clicks=0), [], popular="")
    'popular in topic group 5; queue place 3'
    >>> because(Reason("catalogue", 0, position=40, clicks=0), [], popular="")
    'popular with all; queue place 40'
    """
    label = f" ({', '.join(terms[:LABEL_TERMS])})" if terms else ""
    if reason.level == "catalogue":
        why = "popular with all"
    else:
        queue = f"{'topic' if reason.level == 'topic' else 'topic group'} {reason.topic_id}{label}"
        clicked = f"because you clicked {in_words(reason.clicks, 'video')} of {queue}"
        liked = f"{popular}: popular in {queue}" if popular else f"popular in {queue}"
        why = clicked if reason.clicks else liked
    return f"{why}; {'fresh, ' if reason.fresh else ''}queue place {reason.position}"


def in_words(number: int, what: str) -> str:
    """A number of things.

    >>> in_words(1, "video"), in_words(2, "video")
    ('1 video', '2 videos')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
