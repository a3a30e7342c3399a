"""The delivery of the videos that come out after a world's log: catalogue, tags, covers.

An experiment after the log shows them, and production's jobs have to give them topics first.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq

from vidtopics.simulation.impressions import IMPRESSION_COLUMNS
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.world import World
from vidtopics.simulation.writer import ALWAYS, WorldSummary, write_videos


def write_later(world: World, path: Path) -> WorldSummary:
    """Write what comes out from the log's last day on, in the folder format, without impressions.

    The folder appears whole or not at all; one that is there is replaced.

    >>> import tempfile
    >>> from vidtopics.settings import SimulationSettings
    >>> small = SimulationSettings(users=20, videos=50, topics=40, tags=100, covers=False)
    >>> world = World.build(small, 7, later_days=14)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = write_later(world, Path(folder) / "later")
    >>> summary.videos == len(world.items.topic) - 50, summary.impressions
    (True, 0)
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    last_day = start_of(world.settings) + (world.settings.days - 1) * DAY
    summary = write_videos(world, partial, (last_day, ALWAYS[1]))
    pq.write_table(IMPRESSION_COLUMNS.empty_table(), partial / "impressions.parquet")
    if path.exists():
        shutil.rmtree(path)
    partial.rename(path)
    return summary
