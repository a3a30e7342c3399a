"""Ten days of a growing catalogue: what is rewritten, what stays, what is born and ends.

`python -m benchmarks.ten_days [--json FILE] [--plot FILE.svg]`.

A seeded world of themes: 10,000 videos, 5% new ones a day, one in thirty like no other; on day 4 a
theme appears, on day 6 one ends with all its videos, one grows faster than the others. Three ways
of keeping topics go through the same days: trained on days 5 and 9 as `train topics` does, never
trained again, and trained every day with Lloyd's steps to their end from the last centres, as was
done before.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.line_plots import draw_panels
from producers.topics.assignment import Assignment, assign
from producers.topics.churn import compare_rows
from producers.topics.evolution import Topics, learn_topics
from producers.topics.kmeans import spherical_kmeans
from producers.topics.thresholds import calibrate_thresholds
from producers.unit_length import to_unit_length
from vidtopics.settings import TopicSettings

DAYS = 10
TRAINED_ON = (5, 9)
APPEARS_ON, ENDS_ON = 4, 6
NEW_SHARE = 0.05
THEMES, WIDTH = 80, 64
ALONE = 30
"""One video in so many is like no other."""
WAYS = ("evolved", "untouched", "every day")
COLUMNS = {
    "day": "day",
    "videos": "videos",
    "topics": "topics",
    "born": "born",
    "split": "split",
    "retired": "retired",
    "video_rows": "video_topics rows",
    "topic_rows": "topics rows",
    "first_kept": "first kept",
    "set_kept": "set kept",
    "topics_per_video": "topics a video",
    "below_threshold": "below",
    "mean_cosine": "cosine",
    "cpu_seconds": "CPU s",
}


@dataclass(frozen=True, eq=False)
class Day:
    """The catalogue of a day: video numbers, ascending, and float32[N, D] of length 1."""

    number: int
    videos: NDArray[np.int64]
    a: NDArray[np.float32]


@dataclass(frozen=True)
class DayFigures:
    """What one way of keeping topics did on a day.

    Attributes:
        day: its number.
        way: one of :data:`WAYS`.
        videos: in the catalogue.
        topics: that live.
        born: new ones that are no part of another.
        split: new ones that are.
        retired: that ended.
        video_rows: rows of `video_topics` that were written: new videos and changed values.
        topic_rows: rows of `topics` that were written.
        first_kept: share of yesterday's videos with the same first topic.
        set_kept: share with the same set of topics.
        topics_per_video: mean number.
        below_threshold: share of videos.
        mean_cosine: of videos to their nearest centre.
        cpu_seconds: of training and assignment.
    """

    day: int
    way: str
    videos: int
    topics: int
    born: int
    split: int
    retired: int
    video_rows: int
    topic_rows: int
    first_kept: float
    set_kept: float
    topics_per_video: float
    below_threshold: float
    mean_cosine: float
    cpu_seconds: float


def days(videos: int, seed: int) -> Iterator[Day]:
    """The catalogue of day 0, 1, ..., :data:`DAYS`.

    Half of the videos are of two themes, as such that have several topics are. The last theme
    appears on :data:`APPEARS_ON`, the first ends on :data:`ENDS_ON`, the second has a quarter of
    all new videos.
    """
    rng = np.random.default_rng(seed)
    centres = to_unit_length(rng.normal(size=(THEMES, WIDTH)))
    centres += 0.8 * np.repeat(centres[::8], 8, axis=0)  # themes are alike in groups
    centres = to_unit_length(centres)
    themes = np.empty(0, np.int64)
    a = np.empty((0, WIDTH), np.float32)
    for day in range(DAYS + 1):
        count = videos if not day else round(NEW_SHARE * len(a))
        known = THEMES if day >= APPEARS_ON else THEMES - 1
        weights = np.ones(known)
        if day:
            weights[1] = known / 3
            weights[0] = 0 if day >= ENDS_ON else 1
        if day == APPEARS_ON:
            weights[-1] = known / 3
        new = rng.choice(known, count, p=weights / weights.sum())
        mixed = (
            centres[new]
            + np.where(rng.random(count) < 0.5, 0.7, 0)[:, None]
            * (centres[rng.choice(THEMES - 2, count) + 1])
        )
        spread = np.where(rng.random(count) < 1 / ALONE, 9, rng.uniform(0.3, 1.1, count))
        noise = rng.normal(size=(count, WIDTH)) * spread[:, None] / WIDTH**0.5
        themes = np.concatenate([themes, new])
        a = np.concatenate([a, to_unit_length(to_unit_length(mixed) + noise).astype(np.float32)])
        alive = (themes != 0) | (day < ENDS_ON)
        yield Day(day, np.flatnonzero(alive), a[alive])


def simulate(videos: int, settings: TopicSettings, seed: int) -> list[DayFigures]:
    """All ways over all days."""
    figures = []
    for way in WAYS:
        topics: Topics | None = None
        before: Rows | None = None
        tau = 0.0
        for day in days(videos, seed):
            began = time.process_time()
            old = topics
            if topics is None:
                topics = learn_topics(day.a, previous=None, settings=settings, seed=seed)
                tau = _threshold(day.a, topics, settings)
            elif way == "evolved" and day.number in TRAINED_ON:
                assert before is not None
                topics = learn_topics(
                    day.a,
                    previous=topics,
                    settings=settings,
                    seed=seed,
                    last=before.slots_of(day.videos),
                    threshold=np.full(len(day.a), tau, np.float32),
                )
            elif way == "every day":
                topics = lloyd(day.a, topics, settings, seed)
            assignment = assign(day.a, topics.centroids, topics.topic_ids, tau)
            cpu = time.process_time() - began
            now = Rows(day.videos, assignment)
            figures.append(_figures(day.number, way, (old, topics), (before, now), cpu))
            before = now
    return figures


def _threshold(a: NDArray[np.float32], topics: Topics, settings: TopicSettings) -> float:
    """tau_3 of all days, as the first training calibrates it; every video has both blocks."""
    every = np.ones(len(a), bool)
    thresholds = calibrate_thresholds(
        a, every, every, topics.centroids, settings.target_topics, tag_width=WIDTH // 2
    )
    return thresholds.whole


def lloyd(a: NDArray[np.float32], topics: Topics, settings: TopicSettings, seed: int) -> Topics:
    """K-means from the last centres to its end, the number of topics unchanged."""
    clustering = spherical_kmeans(
        a,
        len(topics.topic_ids),
        iterations=settings.iterations,
        seed=seed,
        initial=topics.centroids,
    )
    seeded = clustering.origin < 0  # in the place of a topic without videos
    ids = topics.topic_ids.copy()
    ids[seeded] = topics.next_id + np.arange(seeded.sum())
    return replace(
        topics,
        topic_ids=ids,
        centroids=clustering.centroids,
        split_from=np.where(seeded, 0, topics.split_from),
        born=ids[seeded],
        retired=topics.topic_ids[seeded],
        next_id=topics.next_id + int(seeded.sum()),
    )


@dataclass(frozen=True, eq=False)
class Rows:
    """The table `video_topics` of a day: video numbers, ascending, and their topics."""

    videos: NDArray[np.int64]
    assignment: Assignment

    def slots_of(self, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Topics of these videos, int64[N, slots]; -1 for those that aren't in it."""
        at, known = self.places(videos)
        return np.where(known[:, None], self.assignment.topic_ids[at], -1)

    def places(self, videos: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows of these videos, and whether they have one."""
        at = np.searchsorted(self.videos, videos).clip(max=len(self.videos) - 1)
        return at, self.videos[at] == videos


def _figures(
    day: int,
    way: str,
    topics: tuple[Topics | None, Topics],
    rows: tuple[Rows | None, Rows],
    cpu_seconds: float,
) -> DayFigures:
    (old, new), (before, now) = topics, rows
    ids, weights = now.assignment.topic_ids, now.assignment.topic_weights
    is_new, stays, changed = np.ones(len(ids), bool), (1.0, 1.0), np.zeros(len(ids), bool)
    if before is not None:
        at, known = before.places(now.videos)
        was = before.assignment
        stays = compare_rows(was.topic_ids[at][known], ids[known])
        same = (was.topic_ids[at] == ids).all(axis=1) & (was.topic_weights[at] == weights).all(
            axis=1
        )
        is_new, changed = ~known, known & ~same
    born, retired, topic_rows = len(new.topic_ids), 0, len(new.topic_ids)
    parts = 0
    if old is not None:
        appeared = ~np.isin(new.topic_ids, old.topic_ids)
        parts = int((new.split_from[appeared] > 0).sum())
        born = int(appeared.sum()) - parts
        retired = int((~np.isin(old.topic_ids, new.topic_ids)).sum())
        centres = {i: c.tobytes() for i, c in zip(old.topic_ids, old.centroids, strict=True)}
        topic_rows = retired + sum(
            centres.get(i) != c.tobytes() for i, c in zip(new.topic_ids, new.centroids, strict=True)
        )
    return DayFigures(
        day,
        way,
        videos=len(ids),
        topics=len(new.topic_ids),
        born=born,
        split=parts,
        retired=retired,
        video_rows=int((is_new | changed).sum()),
        topic_rows=topic_rows,
        first_kept=stays[0],
        set_kept=stays[1],
        topics_per_video=float(now.assignment.topic_count.mean()),
        below_threshold=float(now.assignment.below_threshold.mean()),
        mean_cosine=float(weights[:, 0].mean()),
        cpu_seconds=cpu_seconds,
    )


def table(figures: list[DayFigures], way: str) -> str:
    """The days of one way as Markdown."""
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + " --: |" * len(COLUMNS)]
    for row in figures:
        if row.way == way:
            lines.append("| " + " | ".join(_cell(n, getattr(row, n)) for n in COLUMNS) + " |")
    return "\n".join(lines)


def _cell(name: str, value: float) -> str:
    if name in {"first_kept", "set_kept", "below_threshold"}:
        return f"{value:.1%}"
    if name in {"topics_per_video", "cpu_seconds"}:
        return f"{value:.2f}"
    if name == "mean_cosine":
        return f"{value:.3f}"
    return f"{value:,}"


PANELS = {
    "set_kept": "share that kept its set of topics",
    "first_kept": "share that kept its first topic",
    "video_rows": "rows of video_topics written",
    "topics": "topics",
    "mean_cosine": "cosine to the nearest centre",
    "below_threshold": "share below the threshold",
}


def plot(figures: list[DayFigures]) -> str:
    """Each figure by day, a line for each way, as SVG; days that train are marked."""
    panels = {
        title: {
            way: [(row.day, getattr(row, name)) for row in figures if row.way == way and row.day]
            for way in WAYS
        }
        for name, title in PANELS.items()
    }
    return draw_panels(panels, marks=TRAINED_ON)


def main(arguments: list[str] | None = None) -> None:
    """Run all days, print the tables, write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ten_days", description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--clusters", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    settings = TopicSettings(clusters=options.clusters)
    figures = simulate(options.videos, settings, options.seed)
    for way in WAYS:
        print(f"\n{way}\n\n{table(figures, way)}")  # noqa: T201
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in figures], indent=1))
    if options.plot:
        options.plot.write_text(plot(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
