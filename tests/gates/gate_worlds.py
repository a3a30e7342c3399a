"""Tables written by hand, past every check of publishing, as the gates have to expect them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from vidtopics import contracts
from vidtopics.contracts import Table
from vidtopics.gates import Verdict, judge
from vidtopics.settings import GateSettings
from vidtopics.tables import Tables
from vidtopics.tables.schemas import arrow_schema

Rows = Iterable[dict[str, Any]]
VIDEOS, TOPICS = 200, 20
NOW = 1_000_000_000_000


class World:
    """A home; `put` appends rows to a table (or replaces a snapshot's) and gives its version."""

    def __init__(self, root: Path) -> None:
        self.tables = Tables(root)
        self.us = 0
        self.versions: dict[str, int] = {}

    def put(self, table: Table, rows: Rows, event: int | None = None, created: int = 0) -> int:
        """One commit of rows that hold from `event`; a row of nothing but its key ends it."""
        self.us += 1
        event_us = self.us if event is None else event
        plain = [
            {
                "event_timestamp": event_us,
                "created_timestamp": created or self.us,
                "value_hash": value_hash(table, row),
                **row,
            }
            for row in rows
        ]
        self.tables.delta(table, create=True)
        mode = "overwrite" if table.kind == "snapshot" else "append"
        data = pa.Table.from_pylist(plain, arrow_schema(table))
        write_deltalake(str(self.tables.path(table)), data, mode=mode)
        self.versions[table.name] = self.tables.version(table)
        return self.versions[table.name]

    def judge(
        self,
        before: Mapping[str, int] | None,
        settings: GateSettings | None = None,
        last_as_of_us: int = NOW,
        models: tuple[int, int] = (1, 1),
    ) -> dict[str, Verdict]:
        """What the gates say of the latest versions."""
        verdicts = judge(
            self.tables,
            before,
            self.versions,
            as_of_us=NOW,
            settings=settings or GateSettings(least_keys=0),
            last_as_of_us=last_as_of_us,
            models=models,
            history={},
        )
        return {verdict.name: verdict for verdict in verdicts}


def value_hash(table: Table, row: dict[str, Any]) -> int:
    """0 for a row of nothing but its key; else a hash of the values' texts."""
    values = [row.get(c.name) for c in table.values]
    if all(value is None for value in values):
        return 0
    return hash(repr(values)) or 1


def video_topics(video: str, topics: list[int], **change: Any) -> dict[str, Any]:
    """A row of video_topics."""
    return {
        "video_id": video,
        "topic_ids": topics + [-1] * (8 - len(topics)),
        "topic_weights": [0.9] * len(topics) + [0.0] * (8 - len(topics)),
        "parent_topic_ids": [1] * len(topics) + [-1] * (8 - len(topics)),
        "topic_count": len(topics),
        "below_threshold": False,
        "topic_epoch": 1,
        **change,
    }


def topic(topic_id: int, **change: Any) -> dict[str, Any]:
    """A row of topics."""
    return {
        "topic_id": topic_id,
        "centroid": [0.6, 0.8],
        "size": 10,
        "label_terms": ["cat"],
        "topic_epoch": 1,
        "born": 0,
        "retired": None,
        **change,
    }


def statistics(video: str, exposures: int, **change: Any) -> dict[str, Any]:
    """A row of video_statistics."""
    return {
        "video_id": video,
        "video_exposures": exposures,
        "video_clicks": 1,
        **change,
    }


def tag_embedding(video: str, vector: list[float] | None, tags: int = 1) -> dict[str, Any]:
    """A row of video_tag_embedding."""
    return {"video_id": video, "tag_embedding": vector, "tag_count": tags}


def queue_entry(topic_id: int, video: str, position: int = 1, epoch: int = 1) -> dict[str, Any]:
    """A row of topic_queues."""
    return {
        "topic_id": topic_id,
        "video_id": video,
        "queue_level": "topic",
        "queue_position": position,
        "queue_ctr": 0.2,
        "queue_exposures": 10,
        "queue_clicks": 10 * 0.2,
        "fresh": False,
        "topic_epoch": epoch,
    }


def names() -> list[str]:
    """The videos of a healthy home."""
    return [f"v{i:04d}" for i in range(VIDEOS)]


def unit(i: int, width: int = 4) -> list[float]:
    """A vector of length 1 with two entries."""
    vector = [0.0] * width
    vector[i % width], vector[(i + 1) % width] = math.cos(i), math.sin(i)
    return vector


def healthy(root: Path) -> World:
    """A home of 200 videos in 20 topics of 20 slots each, as a first release has it."""
    world = World(root)
    videos = names()
    world.put(
        contracts.VIDEO_TAG_EMBEDDING, [tag_embedding(v, unit(i)) for i, v in enumerate(videos)]
    )
    world.put(contracts.TOPICS, [topic(i) for i in range(TOPICS)])
    world.put(
        contracts.VIDEO_TOPICS,
        [video_topics(v, [i % TOPICS, (i + 1) % TOPICS]) for i, v in enumerate(videos)],
    )
    world.put(
        contracts.VIDEO_STATISTICS,
        [statistics(v, 10) for v in videos],
    )
    world.put(
        contracts.TOPIC_QUEUES, [queue_entry(t, v, 1) for t in range(TOPICS) for v in videos[:2]]
    )
    return world
