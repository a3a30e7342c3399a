"""A home, its Redis and a client with a serving log, small enough to break by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.homes import release_tables
from consumers.parity import Report, replay
from vidtopics.contracts import (
    USER_RECENT_SKIPS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.layout import KeySpace, place
from vidtopics.materialization import materialize
from vidtopics.online import Features, OnlineClient, Status
from vidtopics.online.connections import Connection
from vidtopics.online.serving_log import ServingLog
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.deltalake_engine import append, counted
from vidtopics.tables.schemas import arrow_schema

HOUR_US = 3_600_000_000
Row = tuple[str, int, int, int | None]


def ago(hours: float) -> int:
    """A time so many hours before the test began."""
    return START_US - int(hours * HOUR_US)


START_US = 0  # the fixture sets it: test modules are read minutes before their tests run


@dataclass
class ParityHome:
    """Rows (video, event, created, n), microseconds; features follow from n, None: an end."""

    root: Path
    store: Connection
    tables: Tables = field(init=False)
    log: ServingLog = field(init=False)
    client: OnlineClient = field(init=False)

    def __post_init__(self) -> None:
        self.tables = Tables(self.root)
        self.folder = self.root / "logs" / "served"
        self.log = ServingLog(self.folder, self.store, share=1)
        self.client = OnlineClient(self.store, log=self.log)

    def statistics(self, *rows: Row) -> None:
        self._append(
            VIDEO_STATISTICS,
            rows,
            lambda n: {"video_exposures": n, "video_clicks": 1},
        )

    def topics(self, *rows: Row) -> None:
        self._append(
            VIDEO_TOPICS,
            rows,
            lambda n: {
                "topic_ids": [n] + [-1] * 7,
                "topic_weights": [n / 7] + [0.0] * 7,
                "parent_topic_ids": [n % 3] + [-1] * 7,
                "topic_count": 1,
                "below_threshold": n % 2 == 1,
                "topic_epoch": 1,
            },
        )

    def joint(self, *rows: Row, width: int = 3) -> None:
        self._append(
            VIDEO_JOINT_REPRESENTATION,
            rows,
            lambda n: {
                "joint_embedding": [n / 7] * width,
                "content_blocks": 3,
                "encoder_version": f"é{n}",
            },
        )

    def skips(self, *rows: Row) -> None:
        """Of users: as many skips as n says."""
        self._append(
            USER_RECENT_SKIPS,
            rows,
            lambda n: {
                "skipped_video_ids": [f"v{i}" for i in range(n)],
                "skipped_times": list(range(n)),
                "skipped_positions": [1] * n,
            },
        )

    def move(self) -> None:
        """A release, and all of it into Redis."""
        release_tables(self.tables, as_of_us=1, created_us=1, settings="s")
        materialize(self.tables, self.store, OnlineSettings(buckets=4))
        self.settle()

    def source(self) -> str:
        """What the directory says is live of video_statistics."""
        return self.client.directory(fresh=True).view("video_statistics").source

    def say_live(self, source: str) -> None:
        """Let the directory say that this is live, whatever the values are; empty: not known."""
        entry = replace(self.client.directory(fresh=True).view("video_statistics"), source=source)
        self.store.hset(place("vt", "views"), "video_statistics", entry.to_json())
        self.store.incr(place("vt", "directory"))

    def settle(self) -> None:
        """Until the log has written all."""
        self.client.directory(fresh=True)
        while self.log._bytes:
            time.sleep(0.01)

    def read(
        self, *ids: str, view: str = "video_statistics", request: str = "r1", **options: Any
    ) -> Features:
        with self.log.request(request):
            return self.client.read(view, ids, **options)

    def replay(self, **options: Any) -> Report:
        self.log.close()
        return replay(self.tables, self.folder, **options)

    def key(self, video: str, view: str = "video_statistics") -> bytes:
        return self.space(view).of([video.encode()])[0]

    def space(self, view: str = "video_statistics") -> KeySpace:
        return self.client.directory().keys(view)

    def _append(
        self, table: Table, rows: tuple[Row, ...], features: Callable[[int], dict[str, Any]]
    ) -> None:
        nothing = {c.name: None for c in table.values}
        plain = [
            {
                table.key[0]: video,
                **(nothing if n is None else features(n)),
                "event_timestamp": event,
                "created_timestamp": created,
                "value_hash": n or 0,
            }
            for video, event, created, n in rows
        ]
        rows = pa.Table.from_pylist(plain, arrow_schema(table))
        commit = counted(
            Commit("by hand", 1, 1), rows.num_rows, rows["created_timestamp"].cast(pa.int64())
        )
        append(table, self.tables.delta(table, create=True), iter(rows.to_batches()), commit)


def statuses(features: Features) -> list[str]:
    return [Status(s).name for s in features.status]


def between(home: ParityHome, floor: int, ceiling: int) -> None:
    """Make all lines of the log say that they were read between two versions."""
    home.log.close()
    for path in home.folder.iterdir():
        trees = [json.loads(line) for line in path.read_text().splitlines()]
        for tree in trees:
            tree["floor"][1], tree["ceiling"][1] = floor, ceiling
        path.write_text("".join(json.dumps(tree) + "\n" for tree in trees))
