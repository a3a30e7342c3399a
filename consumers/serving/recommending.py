"""`POST /recommend`, by stages: what fails or is missing leaves a lesser answer, and says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.live import LiveStore, ReleaseAlone
from consumers.recommendation import Gathered, best_of, gather, report_of, row_of
from consumers.retrieval.epochs import of_epoch
from consumers.serving.deadlines import BoundedStore, Deadline
from consumers.serving.labels import Labels
from consumers.serving.live import Live
from consumers.serving.messages import RecommendRequest
from consumers.serving.service import Service, within
from consumers.serving.stages import DAMAGED, Stage
from consumers.serving.words import place_of
from vidtopics.contracts import CATALOGUE, TOPIC, VIDEO_TOPICS

Scores = NDArray[np.float32]


async def recommend(service: Service, request: RecommendRequest) -> tuple[dict[str, Any], str]:
    """The answer in plain values, and why it is less than the whole, where the log has to say it.

    Raises:
        InputError: more videos than `serving.max_videos`.
        StoreError, redis.exceptions.RedisError: Redis has or gives no answer in time.
    """
    limit, deadline = service.videos("body", request.limit), service.deadline()

    def read(live: Live) -> Gathered:
        store, rules = BoundedStore(live.store, deadline), service.live_rules
        release = LiveStore(store, rules) if rules else ReleaseAlone(store)
        return gather(live.recall, release, request.user_id, seed=request.seed)

    live, given = await service.answer(deadline, read)
    scores, cause = await _rank(service, live, given, deadline)
    degraded = [*_degraded(service, live, given), *([Stage.RANKER] if scores is None else [])]
    causes = [cause, DAMAGED if _is_damaged(given) else ""]
    answer = _plain(live, given, scores, limit) | {"degraded": degraded}
    return answer, "; ".join(filter(None, causes))


async def _rank(
    service: Service, live: Live, given: Gathered, deadline: Deadline
) -> tuple[Scores | None, str]:
    """Click probabilities; None with the reason where no model gives any in its time."""
    if live.model is None:
        return None, "no model belongs to the release"
    seconds = service.settings.ranker_share * deadline.left()
    try:
        score = partial(given.score, live.model.ranker)
        scores = await within(seconds, service.ranking, score)
    except TimeoutError:
        return None, f"no scores within {1e3 * seconds:.0f} ms"
    except Exception as error:  # a model of anybody's: its fault costs the order, not the answer
        return None, place_of(error)
    if scores.shape != (len(given.candidates.video_ids),) or not np.isfinite(scores).all():
        return None, "scores that are no number for each candidate"
    return scores, ""


def _degraded(service: Service, live: Live, given: Gathered) -> Iterator[Stage]:
    """What recall and labels went without."""
    candidates = given.candidates
    if candidates.popular:
        yield Stage.USER
    levels = {reason.level for reason in candidates.reasons.values()}
    if service.popular_share < 1 and levels <= {CATALOGUE}:
        yield Stage.QUEUES
    if live.labels is None:
        yield Stage.LABELS
    if service.watch.events_behind or _is_damaged(given):
        yield Stage.EVENTS


def _is_damaged(given: Gathered) -> bool:
    return given.live is not None and given.live.is_damaged


def _plain(live: Live, given: Gathered, scores: Scores | None, limit: int) -> dict[str, Any]:
    recommendation, labels = best_of(given, scores, top=limit), live.labels or Labels()
    topics = _topics(given, [video.video_id for video in recommendation.videos], labels)
    videos = [
        row_of(rank, video, labels.of(video.reason.level, video.reason.topic_id), popular)
        | {"topics": topics[video.video_id]}
        for popular in [recommendation.popular]
        for rank, video in enumerate(recommendation.videos, 1)
    ]
    model = live.model
    return report_of(recommendation, videos) | {
        "release": live.release,
        "model": {"version": model.version, "trained_on_release": model.release}
        if model and scores is not None
        else None,
    }


def _topics(given: Gathered, videos: list[str], labels: Labels) -> Mapping[str, list[Any]]:
    """The topics of some candidates, the nearest first."""
    rows = of_epoch(given.features[VIDEO_TOPICS.name], given.candidates.epoch)
    places = {video: place for place, video in enumerate(given.candidates.video_ids)}
    at = np.array([places[video] for video in videos], np.int64)
    ids, weights = (rows[name][at].tolist() for name in ("topic_ids", "topic_weights"))
    return {
        video: [
            {"topic_id": topic, "weight": weight, "label_terms": list(labels.of(TOPIC, topic))}
            for topic, weight in zip(own, near, strict=True)
            if topic >= 0
        ]
        for video, own, near in zip(videos, ids, weights, strict=True)
    }
