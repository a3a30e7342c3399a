"""The log's file: impressions as rows of text, in row groups of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.simulation.identifiers import numbered, texts, width
from vidtopics.simulation.loop import Batch
from vidtopics.simulation.world import World

ROW_GROUP = 131_072
"""Rows of the log that are held as text at once; a row group of its file."""
TIME = pa.timestamp("us", tz="UTC")
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


def write_impressions(
    world: World, folder: Path, batches: Iterable[Batch], is_active: NDArray[np.bool_]
) -> tuple[int, int]:
    """Write `impressions.parquet` and set `is_active` [U] of its users.

    Returns:
        How many impressions and clicks it has.
    """
    impressions = clicks = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal impressions, clicks
        for batch in batches:
            is_active[batch.users] = True
            impressions += batch.slates.size
            clicks += int(batch.responses.clicked.sum())
            yield from _pieces(world, batch)

    with pq.ParquetWriter(
        folder / "impressions.parquet",
        IMPRESSION_COLUMNS,
        compression="zstd",
        use_dictionary=["user_id", "video_id"],
    ) as log:
        for group in _regroup(counted()):
            log.write_table(group, row_group_size=ROW_GROUP)
    return impressions, clicks


def _pieces(world: World, batch: Batch) -> Iterator[pa.Table]:
    """A batch as rows of the log, not more than a row group at once."""
    step = max(1, ROW_GROUP // batch.slates.shape[1])
    for first in range(0, len(batch.users), step):
        yield _impression_rows(world, batch, slice(first, first + step))


def _impression_rows(world: World, batch: Batch, part: slice) -> pa.Table:
    slates, responses = batch.slates[part], batch.responses
    k = slates.shape[1]
    user, position = (
        np.repeat(batch.users[part], k),
        np.tile(np.arange(1, k + 1, dtype=np.int32), len(slates)),
    )
    n, unclicked = len(user), responses.clicked[part].ravel() == 0
    day, refresh = np.full(n, batch.day), np.full(n, batch.refresh)
    request = ("r", (user, width(world.settings.users)), "-", (day, 3), "-", (refresh, 3))
    columns = [
        numbered("u", user, world.settings.users),
        numbered("v", slates.ravel(), world.settings.videos),
        pa.array(responses.shown_at[part].ravel()).cast(TIME),
        pa.array(responses.clicked[part].ravel()),
        pa.array(responses.clicked_at[part].ravel(), mask=unclicked).cast(TIME),
        pa.array(responses.watch_seconds[part].ravel(), mask=unclicked),
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
    buffer = IMPRESSION_COLUMNS.empty_table()
    for piece in pieces:
        buffer = pa.concat_tables([buffer, piece])
        while buffer.num_rows >= ROW_GROUP:
            yield buffer.slice(0, ROW_GROUP).combine_chunks()
            buffer = buffer.slice(ROW_GROUP)
    yield buffer.combine_chunks()
