"""A home with a few videos whose jobs of counts and lists run in process, and its releases."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from live_worlds import Shown

from benchmarks.count_release import release_counts
from vidtopics.ingest import Source, ingest
from vidtopics.materialization import materialize
from vidtopics.settings import Settings
from vidtopics.tables import Tables
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
    tables: Tables = field(init=False)

    def __post_init__(self) -> None:
        self.tables = Tables(self.root / "home")

    def deliver(self, log: list[Shown]) -> None:
        """The videos, and impressions with their clicks as `vidtopics ingest folder` has them."""
        folder = self.root / f"delivery{now_us()}"
        folder.mkdir(parents=True)
        with (folder / "videos.csv").open("w", newline="") as file:
            names = "video_id,title,cover,primary_class,secondary_class,tags,published_at"
            file.write("\n".join([names, *(f"{v},,,,,,2026-01-01" for v in VIDEOS)]) + "\n")
        with (folder / "impressions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            names = "event_id,user_id,video_id,event_timestamp,clicked,clicked_at,position"
            writer.writerow([*names.split(","), "watch_seconds"])
            for e in log:
                clicked_at = moment(e.clicked_us) if e.clicked_us else ""
                row = (e.event, e.user, e.video, moment(e.us), int(bool(clicked_at)), clicked_at)
                writer.writerow([*row, e.position or "", e.watch or ""])
        ingest(self.tables, Source("folder", folder), SETTINGS.ingest)

    def release(self, at_us: int | None = None) -> int:
        """Run the jobs as of a time, now by default, and release what they published."""
        return release_counts(self.tables, SETTINGS, at_us)

    def load(self, store: Any, **options: Any) -> None:
        materialize(self.tables, store, SETTINGS.online, **options)
