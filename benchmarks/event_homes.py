"""A home with a few videos whose counts and lists the jobs release, for benchmarks of events.

Its catalogue and log are small: what is looked at is what becomes of events, not how many there
are.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.count_release import release_counts
from vidtopics.cli import homes
from vidtopics.ingest import Source, ingest
from vidtopics.settings import Settings
from vidtopics.tables import Tables

Mapped = dict[str, Any]


@dataclass
class Log:
    """Events that are sent, and what plain counting says of them.

    Attributes:
        users, videos: of which events are drawn.
        shown: impressions by event id: user and video.
        clicked: event ids.
    """

    users: Sequence[str]
    videos: Sequence[str]
    shown: dict[str, tuple[str, str]] = field(default_factory=dict)
    clicked: set[str] = field(default_factory=set)

    def batch(self, rng: Any, count: int) -> list[Mapped]:
        """Impressions of now, four in ten with a click, some of these sent twice."""
        return [event for _ in range(count) for event in self._drawn(rng)]

    def _drawn(self, rng: Any) -> Iterator[Mapped]:
        event_id, user, video = (
            f"e{len(self.shown)}",
            rng.choice(self.users),
            rng.choice(self.videos),
        )
        self.shown[event_id] = user, video
        ids = {"event_id": event_id, "user_id": user, "video_id": video}
        event = {"kind": "impression", **ids, "event_timestamp": time.time(), "position": 1}
        yield event
        if rng.random() < 0.4:
            self.clicked.add(event_id)
            click = event | {"kind": "click", "clicked_at": time.time()}
            yield click
            if rng.random() < 0.25:
                yield from (event, click)

    def counts(self, of: int) -> Mapping[str, tuple[int, int]]:
        """Exposures and clicks by user (0) or video (1)."""
        sums = {name: [0, 0] for name in (self.users, self.videos)[of]}
        for event_id, names in self.shown.items():
            sums[names[of]][0] += 1
            sums[names[of]][1] += event_id in self.clicked
        return {name: (exposures, clicks) for name, (exposures, clicks) in sums.items()}


@dataclass
class EventHome:
    """A home whose catalogue is the videos of a log, and whose impressions are those that it has.

    Attributes:
        folder: of the home.
        log: what was shown before there were events.
        settings: written to the home.
    """

    folder: Path
    log: Log
    settings: Settings = field(
        default_factory=lambda: Settings.model_validate(
            {"recall": {"recent_clicks": 20}, "online": {"buckets": 4, "keep": timedelta(hours=1)}}
        )
    )
    tables: Tables = field(init=False)

    def __post_init__(self) -> None:
        """Make it."""
        self.tables = Tables(self.folder)
        delivery = self.folder.parent / "delivery"
        delivery.mkdir()
        names = "video_id,title,cover,primary_class,secondary_class,tags,published_at"
        rows = [f"{video},,,,,,2026-01-01" for video in self.log.videos]
        (delivery / "videos.csv").write_text("\n".join([names, *rows]) + "\n", encoding="utf-8")
        with (delivery / "impressions.csv").open("w", newline="", encoding="utf-8") as file:
            names = "event_id,user_id,video_id,event_timestamp,clicked,clicked_at,position"
            writer, shown_at = csv.writer(file), time.time() - 60
            writer.writerow(names.split(","))
            for event_id, (user, video) in self.log.shown.items():
                clicked = event_id in self.log.clicked
                writer.writerow([event_id, user, video, shown_at, int(clicked), "", 1])
        ingest(self.tables, Source("folder", delivery), self.settings.ingest)
        homes.keep(self.folder, self.settings)

    def release(self, as_of_us: int) -> int | None:
        """Run the jobs as of a time, and release what they published; None: nothing changed."""
        return release_counts(self.tables, self.settings, as_of_us)
