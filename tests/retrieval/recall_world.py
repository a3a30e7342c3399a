"""A home of three kinds of users, each of whom clicks the videos of one topic."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_CATALOG, VIDEO_TOPICS
from vidtopics.settings import parse
from vidtopics.tables import Commit, Tables
from vidtopics.tables.commits import METADATA
from vidtopics.tables.deltalake_engine import append, counted
from vidtopics.tables.schemas import arrow_schema

START_US = 1_767_225_600_000_000  # 2026-01-01
HOUR_US = 3_600_000_000
KINDS, VIDEOS, USERS, HOURS = 3, 90, 45, 200
SETTINGS = parse(
    {
        "queues": {"min_exposures": 2, "length": 100},
        "recall": {"candidates": 12, "recent_clicks": 20, "topics": 1, "fresh_share": 0},
    },
    where="test",
)


def make_home(folder, *, permuted=False, seed=5):
    """Each user is shown a random video every few hours, and clicks one of its kind's 70%.

    Topics are 10, 20, 30 of parents 1, 2, 3 and known before the log; `permuted`: given at random.
    """
    rng = np.random.default_rng(seed)
    tables = Tables(folder)
    kinds = np.arange(VIDEOS) % KINDS
    videos = [f"v{i:02d}" for i in range(VIDEOS)]
    put(tables, VIDEO_CATALOG, [catalogue_row(v) for v in videos], START_US - HOUR_US)
    topics = rng.permutation(kinds) if permuted else kinds
    rows = [topics_row(v, 10 * int(k + 1)) for v, k in zip(videos, topics, strict=True)]
    put(tables, VIDEO_TOPICS, rows, START_US - HOUR_US)
    impressions, clicks = [], []
    for n in range(HOURS * USERS // 4):
        user, video = int(rng.integers(USERS)), int(rng.integers(VIDEOS))
        at = START_US + n * 4 * HOUR_US // USERS
        event = {"event_id": f"e{n:05d}", "user_id": f"u{user:02d}", "video_id": videos[video]}
        impressions.append(event | {"request_id": None, "position": None} | times(at))
        if user % KINDS == kinds[video] and rng.random() < 0.7:
            clicks.append(event | {"watch_seconds": None} | times(at + 1_000))
    log(tables, IMPRESSIONS, impressions)
    log(tables, CLICKS, clicks)
    return tables


def catalogue_row(video):
    return {
        "video_id": video,
        "title": video,
        "cover": "",
        "primary_classes": [],
        "secondary_classes": [],
        "published_at": START_US - HOUR_US,
        "removed_at": None,
        "content_hash": video,
    }


def topics_row(video, topic):
    return {
        "video_id": video,
        "topic_ids": [topic, *[-1] * 7],
        "topic_weights": [0.9, *[0.0] * 7],
        "parent_topic_ids": [topic // 10, *[-1] * 7],
        "topic_count": 1,
        "below_threshold": False,
        "topic_epoch": 1,
    }


def times(at_us):
    return {"event_timestamp": at_us, "created_timestamp": at_us}


def put(tables, table, rows, at_us):
    """Rows of a history table, known at a time; written as they are, without a session."""
    schema = arrow_schema(table)
    filled = [{"value_hash": 1} | times(at_us) | row for row in rows]
    rows = pa.RecordBatch.from_pylist(
        [{f.name: row[f.name] for f in schema} for row in filled], schema=schema
    )
    commit = counted(Commit("test", at_us, at_us), len(rows), pa.array([at_us] * len(rows)))
    append(table, tables.delta(table, create=True), iter([rows]), commit)


def replace_rows(tables, table, rows):
    """A snapshot's rows instead of those before."""
    rows = [times(START_US) | row for row in rows]
    delta = tables.delta(table, create=True)
    commit = Commit("test", START_US, START_US, rows=len(rows), ordinal=delta.version() + 1)
    write_deltalake(
        delta,
        pa.Table.from_pylist(rows, arrow_schema(table)),
        mode="overwrite",
        commit_properties=CommitProperties(custom_metadata={METADATA: commit.to_json()}),
    )


def log(tables, table, rows):
    schema = arrow_schema(table)
    end = max(row["event_timestamp"] for row in rows)
    rows = pa.Table.from_pylist(rows, schema=schema)
    tables.publish(table, rows, Commit("ingest", end, end, live=True))


def queue_rows(shift):
    """Queues of all levels in the order of video numbers, from `shift` on."""
    rows = []
    for level, step in (("topic", 10), ("parent", 1), ("catalogue", 0)):
        for kind in range(KINDS) if step else [-1]:
            videos = [i for i in range(VIDEOS) if kind in (-1, i % KINDS)]
            turned = videos[shift:] + videos[:shift]
            rows += [
                {
                    "queue_level": level,
                    "topic_id": step * (kind + 1),
                    "video_id": f"v{i:02d}",
                    "queue_position": place,
                    "queue_ctr": 0.1,
                    "queue_exposures": 10,
                    "queue_clicks": 100.0 / place,
                    "fresh": False,
                    "topic_epoch": 1,
                }
                for place, i in enumerate(turned, 1)
            ]
    return rows
