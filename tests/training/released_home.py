"""A home whose two views of `training_v1` have rows and a release, made without Spark."""

import numpy as np
import pyarrow as pa

from benchmarks.homes import release_tables
from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.tables import Commit
from vidtopics.tables.deltalake_engine import append, counted
from vidtopics.tables.schemas import arrow_schema

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01


def fill(tables, videos, versions):
    """Released: a row per video and day in both views, known up to half a day later."""
    rng = np.random.default_rng(5)
    for version in range(versions):
        event = START_US + version * DAY_US + rng.integers(0, DAY_US, videos)
        created = event + rng.integers(0, DAY_US // 2, videos)
        number = np.arange(videos) + 1_000 * version
        ended = (number % 7 == 3) & (version > 0)
        publish(
            tables,
            VIDEO_TOPICS,
            event,
            created,
            ended,
            {
                "topic_ids": [[int(n), *[-1] * 7] for n in number],
                "topic_weights": [[0.5, *[0.0] * 7]] * videos,
                "parent_topic_ids": [[1, *[-1] * 7]] * videos,
                "topic_count": [1] * videos,
                "below_threshold": [bool(n % 2) for n in number],
                "topic_epoch": [1] * videos,
            },
        )
        publish(
            tables,
            VIDEO_STATISTICS,
            created,
            created,
            ended,
            {
                "video_exposures": number,
                "video_clicks": number // 2,
                "video_decayed_exposures": number.astype(float),
                "video_decayed_clicks": number / 2,
                "video_decayed_at": created,
            },
        )
    release_tables(tables, as_of_us=START_US, created_us=START_US, settings="test")


def publish(tables, table, event, created, ended, features):
    """One commit; rows that are `ended` are tombstones."""
    columns = {
        "video_id": [f"v{i}" for i in range(len(event))],
        EVENT_TIME: event,
        CREATED_TIME: created,
    }
    columns[VALUE_HASH] = np.where(ended, 0, 1)
    schema = arrow_schema(table)
    arrays = [
        pa.array([None if e else v for e, v in zip(ended, features[f.name], strict=True)], f.type)
        if f.name in features
        else pa.array(columns[f.name]).cast(f.type)
        for f in schema
    ]
    log = tables.commits(table)
    commit = Commit("test", int(event.max()), int(created.max()), ordinal=len(log) + 1)
    rows = pa.record_batch(arrays, schema=schema)
    append(
        table,
        tables.delta(table, create=True),
        iter([rows]),
        counted(commit, len(event), pa.array(created)),
    )
