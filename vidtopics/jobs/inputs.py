"""Inputs as Arrow tables for jobs that compute on one machine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.job import Run
from vidtopics.tables.schemas import TIMESTAMP


def live_videos(run: Run, *columns: str) -> pa.Table:
    """The catalogue's videos that are not taken down as of the run, by video_id."""
    names = dict.fromkeys(["video_id", "removed_at", *columns])
    rows = run.read(VIDEO_CATALOG, *names)
    live = pc.greater(pc.fill_null(rows["removed_at"].cast(pa.int64()), 2**62), run.as_of_us)
    return rows.filter(live).select(["video_id", *columns]).sort_by("video_id").combine_chunks()


def tag_lists(run: Run, video_ids: pa.ChunkedArray) -> pa.ListArray:
    """The tags of each of `video_ids`, in byte order; an empty list where there are none."""
    pairs = run.read(VIDEO_TAGS, "video_id", "tag").sort_by(
        [("video_id", "ascending"), ("tag", "ascending")]
    )
    at = pc.index_in(pairs["video_id"], value_set=video_ids.combine_chunks())
    pairs = (
        pairs.append_column("at", at)
        .filter(pc.is_valid(at))
        .sort_by([("at", "ascending"), ("tag", "ascending")])
    )
    counts = np.bincount(pairs["at"].to_numpy(), minlength=len(video_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pairs["tag"].combine_chunks())


def vectors(column: pa.ChunkedArray, width: int = 0) -> NDArray[np.float32]:
    """A column of equally long lists as float32[rows, width]; without rows `width` is used."""
    array = column.combine_chunks()
    flat: NDArray[np.float32] = array.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(array), -1) if len(array) else np.empty((0, width), np.float32)


def lists(rows: NDArray[np.generic]) -> pa.ListArray:
    """`rows`[N, width] as a column of lists."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(np.ascontiguousarray(rows).reshape(-1))
    )


def moments(us: NDArray[np.int64]) -> pa.Array:
    """Microseconds as timestamps."""
    return pa.array(us, pa.int64()).cast(TIMESTAMP)
