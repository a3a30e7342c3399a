"""A world's log for others: a delivery for each day, as a platform would send them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vidtopics.settings import SimulationSettings
from vidtopics.simulation.impressions import write_impressions
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import BLOCK, Batch, simulate
from vidtopics.simulation.truth import write_truth
from vidtopics.simulation.world import World
from vidtopics.simulation.writer import (
    ALWAYS,
    WorldSummary,
    whole_folder,
    write_videos,
)


def write_deliveries(
    settings: SimulationSettings,
    path: Path,
    *,
    seed: int,
    block_users: int = BLOCK,
    progress: Callable[[str], None] = lambda text: None,
) -> WorldSummary:
    """Write `day=YYYY-MM-DD/` for each day of a world's log, and `truth/` beside them.

    Each is a delivery in the folder format: what was published and tagged on that day (on the
    first, before it too) and the sessions that began on it. An earlier world at `path` is replaced.

    Args:
        settings: of the world.
        path: the folder; it appears whole or not at all.
        seed: of the world.
        block_users: users whose rows are held at once; changes no byte.
        progress: called after each day.

    Raises:
        InputError: something else than an earlier world is at `path`.
        SettingsError: the settings allow no world.

    >>> import tempfile
    >>> small = SimulationSettings(users=20, videos=50, days=2, topics=40, tags=100, covers=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = write_deliveries(small, Path(folder) / "world", seed=7)
    ...     days = sorted(day.name for day in (Path(folder) / "world").iterdir())
    >>> summary.videos, days
    (50, ['day=2026-01-01', 'day=2026-01-02', 'truth'])
    """
    began = time.monotonic()
    world = World.build(settings, seed)
    is_active = np.zeros(settings.users, dtype=np.bool_)
    log = _Days(simulate(world, block=block_users))
    summary = WorldSummary()
    with whole_folder(path) as partial:
        for day in range(settings.days):
            folder = partial / f"day={_date(settings, day)}"
            folder.mkdir()
            summary = _sum(summary, write_videos(world, folder, _window(settings, day)))
            impressions, clicks = write_impressions(world, folder, log.of(day), is_active)
            summary = _sum(summary, WorldSummary(impressions=impressions, clicks=clicks))
            seconds = time.monotonic() - began
            progress(
                f"day {day + 1} of {settings.days}, {summary.impressions:,} impressions,"
                f" {seconds / (day + 1) * (settings.days - day - 1):.0f} s left"
            )
        write_truth(world, partial / "truth")
    return replace(
        summary,
        users=settings.users,
        active_users=int(is_active.sum()),
        seconds=time.monotonic() - began,
    )


class _Days:
    """A log's batches, day by day."""

    def __init__(self, log: Iterator[Batch]) -> None:
        self._log = log
        self._next = next(log, None)

    def of(self, day: int) -> Iterator[Batch]:
        """The batches of `day`, the days before having been read to their ends."""
        while self._next is not None and self._next.day == day:
            yield self._next
            self._next = next(self._log, None)


def _date(settings: SimulationSettings, day: int) -> str:
    midnight = start_of(settings) + day * DAY
    return datetime.fromtimestamp(midnight // 1_000_000, UTC).date().isoformat()


def _window(settings: SimulationSettings, day: int) -> tuple[int, int]:
    """First and last microsecond of what the day delivers of videos."""
    midnight = start_of(settings) + day * DAY
    return midnight if day else ALWAYS[0], midnight + DAY - 1


def _sum(a: WorldSummary, b: WorldSummary) -> WorldSummary:
    names = [field.name for field in fields(WorldSummary)]
    return WorldSummary(**{name: getattr(a, name) + getattr(b, name) for name in names})
