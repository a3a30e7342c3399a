"""Writes a world in the folder format of `ingest folder`, and its truth, which no producer reads.

The folder appears whole or not at all, and the same settings and seed give the same bytes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.errors import InputError, explain
from vidtopics.settings import SimulationSettings
from vidtopics.simulation.covers import covers
from vidtopics.simulation.identifiers import numbered, texts, width
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import BLOCK, Batch, simulate
from vidtopics.simulation.titles import Vocabulary, join, make_vocabulary, slugs, tags, titles
from vidtopics.simulation.truth import MARK, write_truth
from vidtopics.simulation.world import World

ROW_GROUP = 131_072
"""Rows of the log that are held as text at once; a row group of its file."""
VIDEOS = 4_096
"""Videos that are held as text at once."""
TIME = pa.timestamp("us", tz="UTC")
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
IMPRESSION_COLUMNS = pa.schema(
    {
        "user_id": pa.string(),
        "video_id": pa.string(),
        "event_timestamp": TIME,
        "clicked": pa.int8(),
        "clicked_at": TIME,
        "watch_seconds": pa.float32(),
        "request_id": pa.string(),
        "position": pa.int32(),
        "event_id": pa.string(),
        "propensity": pa.float32(),
    }
)


@dataclass(frozen=True)
class WorldSummary:
    """What was written: `active_users` are those in the log.

    Of `tags`, `late_tags` came after publication.
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
    _check(path)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    summary = WorldSummary(videos=settings.videos, users=settings.users)
    summary = _write_videos(world, partial, summary)
    if settings.covers:
        summary = replace(summary, covers=_write_covers(world, partial / "covers"))
    summary = _write_impressions(world, partial / "impressions.parquet", block_users, summary)
    write_truth(world, partial / "truth")
    if path.exists():
        shutil.rmtree(path)
    partial.rename(path)
    return replace(summary, seconds=time.monotonic() - began)


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


def _write_videos(world: World, folder: Path, summary: WorldSummary) -> WorldSummary:
    vocabulary = make_vocabulary(world)
    with (
        pq.ParquetWriter(folder / "videos.parquet", VIDEO_COLUMNS) as videos,
        pq.ParquetWriter(folder / "tags.parquet", TAG_COLUMNS) as late_tags,
    ):
        for rows in _chunks(world.settings.videos):
            catalogue, late, early = _video_rows(world, vocabulary, rows)
            videos.write_table(catalogue)
            late_tags.write_table(late)
            count = early + late.num_rows
            summary = replace(
                summary, tags=summary.tags + count, late_tags=summary.late_tags + late.num_rows
            )
    return summary


def _video_rows(
    world: World, vocabulary: Vocabulary, rows: NDArray[np.int64]
) -> tuple[pa.Table, pa.Table, int]:
    """Rows of `videos` with early tags, rows of `tags` with later ones, and how many are early."""
    items, names = world.items, slugs(vocabulary)
    ids, own, topic = (
        numbered("v", rows, world.settings.videos),
        tags(world, vocabulary, rows),
        items.topic[rows],
    )
    has, end = own.slug >= 0, start_of(world.settings) + world.settings.days * DAY
    at_once = has & (own.given == items.published[rows][:, None])
    later = has & ~at_once & (own.given < end)
    video, place = np.nonzero(later)
    primary, secondary = pa.array(vocabulary.primary_names), pa.array(vocabulary.secondary_names)
    catalogue = [
        ids,
        titles(world, vocabulary, rows),
        _cover_paths(world, ids),
        primary.take(pa.array(world.classes.primary[topic])),
        secondary.take(pa.array(world.classes.secondary[topic])),
        join(names, own.slug, at_once, "|"),
        pa.array(items.published[rows]).cast(TIME),
    ]
    late = [
        ids.take(pa.array(video)),
        names.take(pa.array(own.slug[video, place])),
        own.given[video, place],
    ]
    return (
        pa.Table.from_arrays(catalogue, schema=VIDEO_COLUMNS),
        pa.Table.from_arrays([*late[:2], pa.array(late[2]).cast(TIME)], schema=TAG_COLUMNS),
        int(at_once.sum()),
    )


def _cover_paths(world: World, ids: pa.StringArray) -> pa.Array:
    return pa.array(
        [f"covers/{video_id}.jpg" if world.settings.covers else "" for video_id in ids.to_pylist()]
    )


def _write_covers(world: World, folder: Path) -> int:
    folder.mkdir()
    for rows in _chunks(world.settings.videos):
        for video_id, image in zip(
            numbered("v", rows, world.settings.videos), covers(world, rows), strict=True
        ):
            image.save(folder / f"{video_id}.jpg", quality=88)
    return world.settings.videos


def _write_impressions(
    world: World, path: Path, block_users: int, summary: WorldSummary
) -> WorldSummary:
    came = np.zeros(world.settings.users, dtype=np.bool_)
    impressions = clicks = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal impressions, clicks
        for batch in simulate(world, block=block_users):
            came[batch.users] = True
            impressions += batch.slates.size
            clicks += int(batch.responses.clicked.sum())
            yield from _pieces(world, batch)

    with pq.ParquetWriter(
        path, IMPRESSION_COLUMNS, compression="zstd", use_dictionary=["user_id", "video_id"]
    ) as log:
        for group in _regroup(counted()):
            log.write_table(group, row_group_size=ROW_GROUP)
    return replace(summary, impressions=impressions, clicks=clicks, active_users=int(came.sum()))


def _pieces(world: World, batch: Batch) -> Iterator[pa.Table]:
    """A batch as rows of the log, not more than a row group at once."""
    step = max(1, ROW_GROUP // batch.slates.shape[1])
    for first in range(0, len(batch.users), step):
        yield _impression_rows(world, batch, slice(first, first + step))


def _impression_rows(world: World, batch: Batch, part: slice) -> pa.Table:
    slates, did = batch.slates[part], batch.responses
    k = slates.shape[1]
    user, position = (
        np.repeat(batch.users[part], k),
        np.tile(np.arange(1, k + 1, dtype=np.int32), len(slates)),
    )
    n, unclicked = len(user), did.clicked[part].ravel() == 0
    day, refresh = np.full(n, batch.day), np.full(n, batch.refresh)
    request = ("r", (user, width(world.settings.users)), "-", (day, 3), "-", (refresh, 3))
    columns = [
        numbered("u", user, world.settings.users),
        numbered("v", slates.ravel(), world.settings.videos),
        pa.array(did.shown_at[part].ravel()).cast(TIME),
        pa.array(did.clicked[part].ravel()),
        pa.array(did.clicked_at[part].ravel(), mask=unclicked).cast(TIME),
        pa.array(did.watch_seconds[part].ravel(), mask=unclicked),
        texts(n, *request),
        pa.array(position),
        texts(n, *request, "-", (position, len(str(k)))),
        pa.array(batch.propensities[part].ravel()),
    ]
    return pa.Table.from_arrays(columns, schema=IMPRESSION_COLUMNS)


def _regroup(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of exactly a row group each, but the last, in contiguous memory.

    Bytes don't show how rows arrived.
    """
    held = IMPRESSION_COLUMNS.empty_table()
    for piece in pieces:
        held = pa.concat_tables([held, piece])
        while held.num_rows >= ROW_GROUP:
            yield held.slice(0, ROW_GROUP).combine_chunks()
            held = held.slice(ROW_GROUP)
    yield held.combine_chunks()


def _chunks(count: int) -> Iterator[NDArray[np.int64]]:
    for first in range(0, count, VIDEOS):
        yield np.arange(first, min(first + VIDEOS, count))
