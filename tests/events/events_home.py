"""A home with a few videos whose jobs of counts and lists run in process, and its releases."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from live_worlds import Shown

from benchmarks.count_release import MODULES, release_counts
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.ingest import Source, ingest
from vidtopics.jobs.job import Run
from vidtopics.materialization import materialize
from vidtopics.settings import Settings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import moment

VIDEOS = [f"v{i}" for i in range(1, 6)]
LIMIT = 3
SETTINGS = Settings.model_validate(
    {
        "recall": {"recent_clicks": LIMIT},
        "online": {"buckets": 2, "keep": timedelta(hours=1)},
        "ingest": {"max_rejected_share": 1.0},
    }
)


def now_us() -> int:
    return time.time_ns() // 1000


@dataclass
class SmallHome:
    root: Path
    videos: Sequence[str] = tuple(VIDEOS)
    settings: Settings = SETTINGS
    modules: Sequence[Any] = MODULES
    tables: Tables = field(init=False)
    published: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tables = Tables(self.root / "home")

    def deliver(self, log: list[Shown]) -> None:
        """The videos, and impressions with their clicks as `vidtopics ingest folder` has them."""
        folder = self.root / f"delivery{now_us()}"
        folder.mkdir(parents=True)
        with (folder / "videos.csv").open("w", newline="") as file:
            names = "video_id,title,cover,primary_class,secondary_class,tags,published_at"
            file.write("\n".join([names, *map(self._video, self.videos)]) + "\n")
        with (folder / "impressions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            names = "event_id,user_id,video_id,event_timestamp,clicked,clicked_at,position"
            writer.writerow([*names.split(","), "watch_seconds"])
            for e in log:
                clicked_at = moment(e.clicked_us) if e.clicked_us else ""
                row = (e.event, e.user, e.video, moment(e.us), int(bool(clicked_at)), clicked_at)
                writer.writerow([*row, e.position or "", e.watch or ""])
        ingest(self.tables, Source("folder", folder), self.settings.ingest)

    def _video(self, video: str) -> str:
        return f"{video},,,,,,{self.published.get(video, '2026-01-01')}"

    def assign(self, topics: Mapping[str, tuple[list[int], list[int]]]) -> None:
        """Each video's topics and their parents, as a run of that job publishes them."""
        run = Run(self.tables, self.settings, now_us(), live=True)

        def slots(numbers: list[int]) -> list[int]:
            return numbers + [-1] * (8 - len(numbers))

        rows = [
            {
                "video_id": video,
                "topic_ids": slots(own),
                "topic_weights": [1.0] * len(own) + [0.0] * (8 - len(own)),
                "parent_topic_ids": slots(parents),
                "topic_count": len(own),
                "below_threshold": False,
                "topic_epoch": 1,
            }
            for video, (own, parents) in topics.items()
        ]
        schema = arrow_schema(VIDEO_TOPICS, VIDEO_TOPICS.columns)
        commit = Commit(VIDEO_TOPICS.name, run.as_of_us, run.created_us, True)
        table = replace(VIDEO_TOPICS, engine="deltalake")
        self.tables.publish(table, pa.Table.from_pylist(rows, schema), commit)

    def release(self, at_us: int | None = None) -> int:
        """Run the jobs as of a time, now by default, and release what they published."""
        number = release_counts(self.tables, self.settings, at_us, modules=self.modules)
        assert number is not None
        return number

    def load(self, store: Any, **options: Any) -> None:
        materialize(self.tables, store, self.settings.online, **options)
