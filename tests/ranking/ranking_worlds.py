"""A log in which every user likes one of two kinds of videos: topics tell what a new one is."""

from datetime import timedelta

import numpy as np
import pyarrow as pa

from consumers.training import Inputs, ViewRows
from vidtopics.settings import EvaluationSettings, RankingSettings, Settings

SETTINGS = Settings(
    ranking=RankingSettings(
        label_window=timedelta(microseconds=1),
        embedding_width=4,
        topic_width=4,
        hidden=(8,),
        epochs=4,
        batch_size=64,
        learning_rate=0.02,
    ),
    evaluation=EvaluationSettings(ranking_seeds=2),
)
EPOCH = 1
COUNTS = {"video_exposures": 5, "video_clicks": 1}  # of every video
DECAYED = {"video_decayed_exposures": 5, "video_decayed_clicks": 1, "video_decayed_at": 0}


def inputs(*, rows=1_500, users=20, videos=300, seed=1):
    """Topic of a video: 10 or 20, by its number.

    Users with even numbers click 10, the others 20, nine times of ten.
    """
    r = np.random.default_rng(seed)
    user, video, t = (
        r.integers(0, users, rows),
        r.integers(0, videos, rows),
        np.arange(rows) * 10 + 100,
    )
    likes = user % 2 == video % 2
    clicked = r.random(rows) < np.where(likes, 0.9, 0.1)
    ids = pa.array([f"i{i:06}" for i in range(rows)])
    shown = {
        "event_id": ids,
        "user_id": [f"u{u}" for u in user],
        "video_id": [f"v{v}" for v in video],
        "event_us": t,
        "created_us": t,
    }
    times = t[clicked]
    clicks = {"event_id": ids.filter(pa.array(clicked)), "event_us": times, "created_us": times}
    zero = np.zeros(videos, np.int64)
    topics = pa.table(
        {
            "topic_ids": [[10 + 10 * (v % 2)] + [-1] * 7 for v in range(videos)],
            "topic_weights": pa.array([[0.7] + [0.0] * 7] * videos, pa.list_(pa.float32())),
            "topic_epoch": pa.array([EPOCH] * videos, pa.int64()),
        }
    )
    statistics = pa.table({name: pa.array([n] * videos, pa.int64()) for name, n in COUNTS.items()})
    keys = pa.table({"video_id": [f"v{v}" for v in range(videos)]})
    return Inputs.of(
        shown,
        clicks,
        video_topics=ViewRows(keys, zero, zero, topics),
        video_statistics=ViewRows(keys, zero, zero, statistics),
    )
