"""A spine on disk joined to `video_topics` a chunk at a time: seconds and peak memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import homes
from benchmarks.children import Child, in_child
from benchmarks.data import DAY_US, START_US, rows, video_ids
from consumers.training import join_stream
from consumers.training.files import write
from consumers.training.spines import open_spine
from vidtopics.contracts import EVENT_TIME, VIDEO_TOPICS
from vidtopics.tables import Tables
from vidtopics.tables.schemas import TIMESTAMP

VERSIONS = 5
DAYS = 30
PART = 1_000_000


def streamed(count: int, out: str = "joined") -> Child:
    """`count` spine rows from Parquet and `count` rows of the view, to Delta or to Parquet."""
    with homes.folder() as home:
        in_child(
            __name__, "prepare_files", home=str(home), count=count
        )  # memory that this takes is not the join's
        return in_child(__name__, "prepare_join", home=str(home), out=out)


def prepare_files(home: str, count: int) -> Callable[[], None]:
    """In the child: view and spine, in random order."""
    return partial(_files, Path(home), count)


def prepare_join(home: str, out: str) -> Callable[[], int]:
    """In the child: how many rows were written."""
    place, tables = Path(home), Tables(home)

    def join() -> int:
        spine = open_spine(place / "spine.parquet", [VIDEO_TOPICS])
        return write(join_stream(tables, spine, [VIDEO_TOPICS], folder=place), place / out)

    return join


def _files(home: Path, count: int) -> None:
    rng, tables, videos = np.random.default_rng(11), Tables(home), max(count // VERSIONS, 1)
    schema = pa.schema(
        [("event_id", pa.int64()), ("video_id", pa.string()), (EVENT_TIME, TIMESTAMP)]
    )
    with pq.ParquetWriter(home / "spine.parquet", schema) as writer:
        for start in range(0, count, PART):
            size = min(PART, count - start)
            event = START_US + rng.integers(0, DAYS * DAY_US, size)
            created = event + rng.integers(0, 2 * DAY_US, size)
            ids = video_ids(rng.integers(0, videos, size))
            homes.publish(tables, VIDEO_TOPICS, rows(VIDEO_TOPICS, ids, event, created, seed=start))
            at = pa.array(START_US + rng.integers(0, DAYS * DAY_US, size)).cast(TIMESTAMP)
            shown = video_ids(rng.integers(0, videos, size))
            writer.write_table(
                pa.table([pa.array(np.arange(start, start + size)), shown, at], schema=schema)
            )
