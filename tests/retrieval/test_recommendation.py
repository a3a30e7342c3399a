"""Recall, then rank.

Order of scores, what the model is given, and candidates that must not be shown.
"""

import numpy as np
from fake_store import FakeClient

from consumers.recommendation import recommend
from consumers.retrieval.recall import NEW_USER, Recall
from consumers.retrieval.rules import Reason
from vidtopics.online import Status
from vidtopics.settings import RecallSettings

SETTINGS = RecallSettings(candidates=4, topics=1, fresh_share=0, popular_share=0)


class Known:
    """Scores by heart; remembers what it was given."""

    def __init__(self, **scores):
        self.scores = scores
        self.given = None

    def score(self, candidates, features):
        self.given = (candidates, features)
        return np.array([self.scores[v] for v in candidates.video_ids], np.float32)


def store():
    videos = ["a", "b", "c", "d"]
    return FakeClient(
        topics={v: ([10], 1) for v in [*videos, "seen"]},
        statistics=dict.fromkeys(videos, 2),
        clicks={"ann": ["seen"]},
        lists={10: videos, "p1": videos},
        parents=[1],
    )


def test_best_first_with_reasons_and_ties_in_the_order_of_recall():
    client, ranker = store(), Known(a=0.1, b=0.5, c=0.25, d=0.5)
    recommendation = recommend(Recall(client, SETTINGS), ranker, "ann", top=3)
    assert [(v.video_id, v.score, v.reason) for v in recommendation.videos] == [
        ("b", 0.5, Reason("topic", 10, 2, 1)),
        ("d", 0.5, Reason("topic", 10, 4, 1)),
        ("c", 0.25, Reason("topic", 10, 3, 1)),
    ]
    assert (recommendation.clicks, recommendation.candidates, recommendation.popular) == (1, 4, "")
    assert recommendation.left_out == {"clicks": {}, "candidates": {}}
    assert client.trips == [
        "user_recent_clicks+user_recent_skips",
        "video_topics",
        "queues",
        "video_topics+video_statistics+user_recent_clicks+user_recent_skips",
    ]
    candidates, features = ranker.given
    assert (candidates.user_id, candidates.clicks) == ("ann", ["seen"])
    assert candidates.video_ids == ["a", "b", "c", "d"]
    assert len(candidates.history_topics) == 1
    assert {view: len(rows) for view, rows in features.items()} == {
        "video_topics": 4,
        "video_statistics": 4,
        "user_recent_clicks": 1,
        "user_recent_skips": 1,
    }


def test_what_was_taken_down_or_has_topics_of_another_epoch_is_not_shown():
    client, ranker = store(), Known(a=0.9, b=0.8, c=0.7, d=0.6)
    client.topics |= {"a": Status.NULL, "b": ([90], 2)}
    del client.statistics["c"]
    recommendation = recommend(Recall(client, SETTINGS), ranker, "ann", top=3)
    assert [v.video_id for v in recommendation.videos] == ["d"]
    assert recommendation.candidates == 1
    assert recommendation.left_out["candidates"] == {
        "removed": 1,
        "topics of another epoch": 1,
        "no statistics": 1,
    }
    _, features = ranker.given  # the model never sees foreign topics
    assert features["video_topics"]["topic_ids"][:, 0].tolist() == [-1, -1, 10, 10]


def test_a_new_user():
    client, ranker = store(), Known(a=0.1, b=0.5, c=0.2, d=0.3)
    recommendation = recommend(Recall(client, SETTINGS), ranker, "nobody", top=1)
    assert [(v.video_id, v.reason) for v in recommendation.videos] == [
        ("b", Reason("parent", 1, 2, 0))
    ]
    assert (recommendation.popular, recommendation.clicks) == (NEW_USER, 0)
    assert len(ranker.given[0].history_topics) == 0


def test_nothing_to_recommend():
    client = store()
    client.lists = {}
    assert recommend(Recall(client, SETTINGS), Known(), "ann", top=3).videos == ()
