"""A home of twelve videos in four topics whose jobs of users and queues run in process."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from events_home import SmallHome
from live_worlds import Shown

from benchmarks.count_release import MODULES as COUNT_MODULES
from spark_jobs import topic_queues, user_topic_counts, user_topics
from vidtopics.contracts import TOPICS, VIDEO_TOPICS, Table
from vidtopics.settings import Settings
from vidtopics.tables import Commit
from vidtopics.tables.schemas import arrow_schema

DAY_US = 86_400_000_000
VIDEOS = [f"w{i:02d}" for i in range(12)]
WEIGHTS = {1: 0.75, 2: 0.25}
"""Of a video's own topic and the next one's; each number is exact in what Redis stores."""
PARENTS = {1: 7, 2: 7, 3: 8, 4: 8}
BARE = "w11"
"""Has no topics."""
SETTINGS = Settings.model_validate(
    {
        "recall": {"recent_clicks": 6, "candidates": 8, "topics": 2, "fresh_share": 0}
        | {"popular_share": 0, "parent_prior": 1},
        "online": {"buckets": 4, "keep": timedelta(hours=1)},
        "ingest": {"max_rejected_share": 1.0},
        "queues": {"min_exposures": 0, "min_ctr": 0.0, "length": 100},
        "users": {"topics": 8, "parents": 4},
    }
)
MODULES = (*COUNT_MODULES, user_topic_counts, user_topics, topic_queues)


def topic_of(video: str) -> int:
    """A video's first topic."""
    return int(video[1:]) % 4 + 1


def topics_of(video: str) -> dict[int, float]:
    """Share of each topic of a video."""
    first = topic_of(video)
    return {} if video == BARE else {first: WEIGHTS[1], first % 4 + 1: WEIGHTS[2]}


def make_home(folder: Path, log: list[Shown]) -> SmallHome:
    """Videos with their topics, and a log; nothing is released yet."""
    home = SmallHome(folder, VIDEOS, SETTINGS, MODULES)
    home.deliver(log)
    _put_topics(home)
    return home


def _put_topics(home: SmallHome) -> None:
    def slots(values: list[float], pad: float) -> list[float]:
        return [*values, *[pad] * (8 - len(values))]

    videos = [
        {"video_id": video, "topic_ids": slots([*topics_of(video)], -1), "topic_epoch": 1}
        | {"topic_weights": slots([*topics_of(video).values()], 0.0), "below_threshold": False}
        | {"parent_topic_ids": slots([PARENTS[t] for t in topics_of(video)], -1)}
        | {"topic_count": len(topics_of(video))}
        for video in VIDEOS
    ]
    topics = [
        {"topic_id": topic, "centroid": [math.cos(topic), math.sin(topic)], "size": 1}
        | {"label_terms": [], "topic_epoch": 1, "born": 1, "parent_topic_id": parent}
        | {"parent_label_terms": []}
        for topic, parent in PARENTS.items()
    ]
    for table, rows in ((VIDEO_TOPICS, videos), (TOPICS, topics)):
        _publish(home, table, rows)


def _publish(home: SmallHome, table: Table, rows: list[dict[str, object]]) -> None:
    data = pa.Table.from_pylist(rows, schema=arrow_schema(table, table.columns))
    commit = Commit(table.name, DAY_US, DAY_US)
    home.tables.publish(replace(table, engine="deltalake"), data, commit, widths={"topic_width": 2})
