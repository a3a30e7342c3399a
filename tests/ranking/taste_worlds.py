"""Logs in which topics are worth much, or nothing, and the source of their rows."""

from datetime import timedelta

import numpy as np
import pyarrow as pa

from consumers.ranking.problems import Source
from consumers.training import Inputs, ViewRows
from vidtopics.settings import EvaluationSettings, RankingSettings, Settings
from vidtopics.tables import FOREVER

EPOCH = 1
TOPICS = 4
SETTINGS = Settings(
    ranking=RankingSettings(
        label_window=timedelta(microseconds=1),
        history=20,
        embedding_width=4,
        topic_width=4,
        hidden=(8,),
        epochs=6,
        batch_size=128,
        learning_rate=0.01,
        topic_learning_rate=0.01,
        device="cpu",
    ),
    evaluation=EvaluationSettings(ranking_seeds=2, ranking_trials=1),
)


def source(
    *, worth=True, by_parent=False, rows=3_000, users=60, videos=1_500, seed=1, settings=SETTINGS
):
    """Each user likes one of four topics, or of two parents: clicks nine of ten of its videos.

    Of other videos one of ten.

    A video is shown twice on average, so that its id says little. Where topics are worth nothing,
    the liked videos are drawn beside the topics that are told.
    """
    r = np.random.default_rng(seed)
    user, video = r.integers(0, users, rows), r.integers(0, videos, rows)
    times = np.arange(rows) * 3_600_000_000 + 100
    topic = r.integers(0, TOPICS, videos)
    liked = topic if worth else r.integers(0, TOPICS, videos)
    kinds, likes = (TOPICS // 2, liked // 2) if by_parent else (TOPICS, liked)
    clicked = r.random(rows) < np.where(likes[video] == user % kinds, 0.9, 0.1)
    ids = np.array([f"i{i:06}" for i in range(rows)], str)
    shown = {
        "event_id": ids,
        "user_id": [f"u{u}" for u in user],
        "video_id": [f"v{v:05}" for v in video],
        "position": [None] * rows,
        "event_us": times,
        "created_us": times,
    }
    clicks = {
        "event_id": ids[clicked],
        "watch_seconds": [None] * int(clicked.sum()),
        "event_us": times[clicked],
        "created_us": times[clicked],
    }
    inputs = Inputs.of(shown, clicks, video_topics=_video_topics(topic), topics=_topics())
    return Source(inputs, settings, FOREVER, EPOCH)


def _video_topics(topic):
    """Topic 10, 11, 12 or 13 of each video; their parents are 1, 1, 2, 2."""
    n = len(topic)
    zero = np.zeros(n, np.int64)
    values = {
        "topic_ids": [[10 + t] + [-1] * 7 for t in topic],
        "topic_weights": pa.array([[0.7] + [0.0] * 7] * n, pa.list_(pa.float32())),
        "parent_topic_ids": [[1 + t // 2] + [-1] * 7 for t in topic],
        "topic_epoch": pa.array([EPOCH] * n, pa.int64()),
    }
    keys = pa.table({"video_id": [f"v{v:05}" for v in range(n)]})
    return ViewRows(keys, zero, zero, pa.table(values))


def _topics():
    zero = np.zeros(TOPICS, np.int64)
    values = {
        "centroid": pa.array(np.eye(TOPICS, dtype=np.float32).tolist(), pa.list_(pa.float32())),
        "topic_epoch": pa.array([EPOCH] * TOPICS, pa.int64()),
        "parent_topic_id": pa.array([1, 1, 2, 2], pa.int64()),
    }
    return ViewRows(pa.table({"topic_id": [10, 11, 12, 13]}), zero, zero, pa.table(values))
