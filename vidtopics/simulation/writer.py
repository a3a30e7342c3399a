"""Writes a world in the folder format of `ingest folder`, and its truth, which no producer reads.

The folder appears whole or not at all, and the same settings and seed give the same bytes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.errors import InputError, explain
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.covers import covers
from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.impressions import TIME, write_impressions
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import BLOCK, simulate
from vidtopics.simulation.titles import Vocabulary, join, make_vocabulary, slugs, tags, titles
from vidtopics.simulation.truth import MARK, write_truth
from vidtopics.simulation.world import World

VIDEOS = 4_096
"""Videos that are held as text at once."""
VIDEO_COLUMNS = pa.schema(
    {
        "video_id": pa.string(),
        "title": pa.string(),
        "cover": pa.string(),
        "primary_class": pa.string(),
        "secondary_class": pa.string(),
        "tags": pa.string(),
        "published_at": TIME,
    }
)
TAG_COLUMNS = pa.schema({"video_id": pa.string(), "tag": pa.string(), "event_timestamp": TIME})
ALWAYS = (-(2**63), 2**63 - 1)
"""A window of time that everything is in."""


@dataclass(frozen=True)
class WorldSummary:
    """What was written: `active_users` are those in the log.

    Of `tags`, `late_tags` is_active after publication.
    """

    videos: int = 0
    users: int = 0
    active_users: int = 0
    impressions: int = 0
    clicks: int = 0
    tags: int = 0
    late_tags: int = 0
    covers: int = 0
    seconds: float = 0.0


def write_world(
    settings: SimulationSettings, path: Path, *, seed: int, block_users: int = BLOCK
) -> WorldSummary:
    """Simulate a world and write it to the folder `path`; an earlier world there is replaced.

    Memory holds the latents of all videos and users, and one batch of rows; `block_users` bounds
    the batch and changes no byte. InputError where `path` is something else; SettingsError where
    the settings allow no world.

    >>> import tempfile
    >>> small = SimulationSettings(users=20, videos=50, days=2, topics=40, tags=100, covers=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     summary = write_world(small, Path(folder) / "world", seed=7)
    >>> summary.videos, summary.users, summary.impressions % 8
    (50, 20, 0)
    """
    began = time.monotonic()
    world = World.build(settings, seed)
    with whole_folder(path) as partial:
        summary = write_videos(world, partial, ALWAYS)
        is_active = np.zeros(settings.users, dtype=np.bool_)
        batches = simulate(world, block=block_users)
        impressions, clicks = write_impressions(world, partial, batches, is_active)
        write_truth(world, partial / "truth")
    return replace(
        summary,
        users=settings.users,
        active_users=int(is_active.sum()),
        impressions=impressions,
        clicks=clicks,
        seconds=time.monotonic() - began,
    )


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that becomes `path` at the end, in place of an earlier world.

    Raises:
        InputError: something else is at `path`.
    """
    _check(path)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    if path.exists():
        shutil.rmtree(path)
    partial.rename(path)


def _check(path: Path) -> None:
    """What is there must be empty or an earlier world: it is going to be removed."""
    if not path.exists() or (
        path.is_dir() and ((path / "truth" / MARK).exists() or not any(path.iterdir()))
    ):
        return
    raise InputError(
        explain(
            str(path),
            expected="a new or empty folder, or an earlier simulated world",
            found="other files",
            mend="name another folder",
        )
    )


def write_videos(world: World, folder: Path, window: tuple[int, int]) -> WorldSummary:
    """Write `videos.parquet`, `covers/` and `tags.parquet`: what is_active out in a window of time.

    Args:
        world: its videos.
        folder: where the files go.
        window: first and last microsecond of publication, and of tags that is_active later.
    """
    vocabulary, summary = make_vocabulary(world), WorldSummary()
    with (
        pq.ParquetWriter(folder / "videos.parquet", VIDEO_COLUMNS) as videos,
        pq.ParquetWriter(folder / "tags.parquet", TAG_COLUMNS) as late_tags,
    ):
        for rows in _chunks(len(world.items.topic)):
            published = world.items.published[rows]
            own = rows[(published >= window[0]) & (published <= window[1])]
            catalogue, early = _video_rows(world, vocabulary, own)
            late = _late_tags(world, vocabulary, rows, window)
            videos.write_table(catalogue)
            late_tags.write_table(late)
            summary = replace(
                summary,
                videos=summary.videos + len(own),
                tags=summary.tags + early + late.num_rows,
                late_tags=summary.late_tags + late.num_rows,
                covers=summary.covers + _write_covers(world, folder / "covers", own),
            )
    return summary


def _video_rows(
    world: World, vocabulary: Vocabulary, rows: NDArray[np.int64]
) -> tuple[pa.Table, int]:
    """Rows of `videos`, and how many tags they have: those that were given at once."""
    items, topic = world.items, world.items.topic[rows]
    ids, own = numbered("v", rows, len(items.topic)), tags(world, rows)
    at_once = (own.slug >= 0) & (own.given == items.published[rows][:, None])
    primary, secondary = pa.array(vocabulary.primary_names), pa.array(vocabulary.secondary_names)
    catalogue = [
        ids,
        titles(world, vocabulary, rows),
        _cover_paths(world, ids),
        primary.take(pa.array(world.classes.primary[topic])),
        secondary.take(pa.array(world.classes.secondary[topic])),
        join(slugs(vocabulary), own.slug, at_once, "|"),
        pa.array(items.published[rows]).cast(TIME),
    ]
    return pa.Table.from_arrays(catalogue, schema=VIDEO_COLUMNS), int(at_once.sum())


def _late_tags(
    world: World, vocabulary: Vocabulary, rows: NDArray[np.int64], window: tuple[int, int]
) -> pa.Table:
    """Rows of `tags`: those that were given after publication, in the window, before the end."""
    own, published = tags(world, rows), world.items.published[rows]
    end = start_of(world.settings) + world.settings.days * DAY
    later = (own.slug >= 0) & (own.given > published[:, None]) & (own.given < end)
    video, place = np.nonzero(later & (own.given >= window[0]) & (own.given <= window[1]))
    columns = [
        numbered("v", rows[video], len(world.items.topic)),
        slugs(vocabulary).take(pa.array(own.slug[video, place])),
        pa.array(own.given[video, place]).cast(TIME),
    ]
    return pa.Table.from_arrays(columns, schema=TAG_COLUMNS)


def _cover_paths(world: World, ids: pa.StringArray) -> pa.Array:
    return pa.array(
        [f"covers/{video_id}.jpg" if world.settings.covers else "" for video_id in ids.to_pylist()]
    )


def _write_covers(world: World, folder: Path, rows: NDArray[np.int64]) -> int:
    if not world.settings.covers:
        return 0
    folder.mkdir(exist_ok=True)
    ids = numbered("v", rows, len(world.items.topic))
    for video_id, image in zip(ids, covers(world, rows), strict=True):
        image.save(folder / f"{video_id}.jpg", quality=88)
    return len(rows)


def _chunks(count: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, count, VIDEOS):
        yield np.arange(first, min(first + VIDEOS, count))
