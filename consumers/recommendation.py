"""Recall, then rank: what a recommendation service does within one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.epochs import left_out, of_epoch
from consumers.retrieval.recall import Candidates, Recall
from consumers.retrieval.rules import Reason
from vidtopics.contracts import SERVICES
from vidtopics.online import Features

VIEWS = tuple(table.name for table in SERVICES["ranking_v2"])
NO_STATISTICS = "no statistics"


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


@dataclass(frozen=True)
class Answer:
    """All that a request was answered from, for a log that can be replayed.

    Attributes:
        candidates: N of them.
        features: the views of `ranking_v2` that the store has.
        scores: float32[N], click probabilities.
    """

    candidates: Candidates
    features: Mapping[str, Features]
    scores: NDArray[np.float32]


def answer(
    recall: Recall,
    ranker: Scorer,
    user_id: str,
    *,
    at_us: int | None = None,
    seed: int | None = None,
) -> Answer:
    """Candidates, their features and scores, all of one release.

    Args:
        recall: over a store; a service keeps it between requests.
        ranker: scores the candidates.
        user_id: who for.
        at_us: when the request is made; None: now.
        seed: of the draw of fresh videos; None: a new one.

    Raises:
        StoreError: nothing was materialised under the client's prefix.
        redis.exceptions.RedisError: the server can't be reached.
    """
    release = recall.client.snapshot()
    candidates = recall.recall_from(release, user_id, at_us=at_us, seed=seed)
    ids, views = candidates.video_ids, release.directory().views
    features = dict(
        release.read_entities(
            [view for view in VIEWS if view in views], {"video": ids, "user": [user_id]}
        )
    )
    topics = of_epoch(features["video_topics"], candidates.epoch)
    scored = features | {"video_topics": topics}
    scores = ranker.score(candidates, scored) if ids else np.zeros(0, np.float32)
    return Answer(candidates, features, scores)


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
    queue was made, or its topics are of another epoch. Raises as :func:`answer`.
    """
    return best_of(answer(recall, ranker, user_id, seed=seed), top=top)


def best_of(given: Answer, *, top: int) -> Recommendation:
    """The `top` candidates of an answer; see :func:`recommend`."""
    candidates, scores, ids = given.candidates, given.scores, given.candidates.video_ids
    statistics = given.features["video_statistics"]
    topics = of_epoch(given.features["video_topics"], candidates.epoch)
    refused = left_out(given.features["video_topics"], candidates.epoch)
    usable = topics.present & statistics.present
    best = [i for i in np.argsort(-scores, kind="stable").tolist() if usable[i]][:top]
    videos = tuple(Recommended(ids[i], float(scores[i]), candidates.reasons[ids[i]]) for i in best)
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
    )
