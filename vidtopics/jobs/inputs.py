"""Inputs as Arrow tables for jobs that compute on one machine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.content.weights import encoder_identity, with_saved_encoders
from vidtopics.contracts import VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.job import Run
from vidtopics.settings import ContentSettings
from vidtopics.tables.schemas import TIMESTAMP
from vidtopics.topic_models import encoders

CHUNK_VALUES = 2**30
"""Values of a chunk of lists at most: Arrow's list offsets are of 32 bits."""


def live_videos(run: Run, *columns: str) -> pa.Table:
    """The catalogue's videos that are not taken down as of the run, by video_id."""
    names = dict.fromkeys(["video_id", "removed_at", *columns])
    rows = still_live(run.read(VIDEO_CATALOG, *names), run.as_of_us)
    return rows.select(["video_id", *columns]).sort_by("video_id").combine_chunks()


def still_live(rows: pa.Table, as_of_us: int) -> pa.Table:
    """Of rows of the catalogue those of videos that are not taken down as of a time."""
    removed_us = pc.fill_null(rows["removed_at"].cast(pa.int64()), 2**62)
    return rows.filter(pc.greater(removed_us, as_of_us))


def held_out(content_hashes: pa.ChunkedArray, settings: ContentSettings) -> NDArray[np.bool_]:
    """Which videos never train, by cover and title: copies are on one side."""
    from producers.content.dataset import holdout

    return holdout(content_hashes.to_pylist(), settings.holdout_share)


def training_videos(run: Run) -> pa.Array:
    """IDs of the live videos that train, string."""
    videos = live_videos(run, "content_hash")
    trains = ~held_out(videos["content_hash"], run.settings.content)
    return videos["video_id"].filter(pa.array(trains)).combine_chunks()


def tag_lists(run: Run, video_ids: pa.ChunkedArray) -> pa.LargeListArray:
    """The tags of each of `video_ids`, in byte order; an empty list where there are none."""
    return group_tags(run.read(VIDEO_TAGS, "video_id", "tag"), video_ids)


def group_tags(pairs: pa.Table, video_ids: pa.ChunkedArray) -> pa.LargeListArray:
    """large_list<large_string>[N] from (video_id, tag): offsets of 64 bits, whatever the number.

    >>> pairs = pa.table({"video_id": ["b", "a", "b"], "tag": ["y", "z", "x"]})
    >>> group_tags(pairs, pa.chunked_array([["a", "b", "c"]])).to_pylist()
    [['z'], ['x', 'y'], []]
    """
    at = pc.index_in(pairs["video_id"], value_set=video_ids.combine_chunks())
    pairs = pa.table({"at": at, "tag": pairs["tag"].cast(pa.large_string())})
    pairs = pairs.filter(pc.is_valid(at)).sort_by([("at", "ascending"), ("tag", "ascending")])
    counts = np.bincount(pairs["at"].to_numpy(), minlength=len(video_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pairs["tag"].combine_chunks())


def count_tags(tags: pa.LargeListArray, min_videos: int) -> pa.Table:
    """(tag, video_count) of the tags that at least `min_videos` of the lists have."""
    counts = pc.value_counts(tags.flatten())
    names = counts.field("values").cast(pa.string())
    counted = pa.table({"tag": names, "video_count": counts.field("counts")})
    return counted.filter(pc.greater_equal(counted["video_count"], min_videos))


def content_settings(run: Run) -> ContentSettings:
    """How the run encodes: with the weights of its topic model version, else as set."""
    version = run.model_version
    if run.content is not None or version is None:
        return run.content or run.settings.content
    settings = ContentSettings.model_validate(version.settings["content"])
    own = encoders(run.tables.home, version)
    return with_saved_encoders(settings, own) if own else settings


def encoder_of(run: Run) -> str:
    """Identity of the encoders whose outputs the run reads."""
    if run.content is None and run.model_version is not None:
        return run.model_version.encoder
    return encoder_identity(content_settings(run))


def vectors(
    column: pa.ListArray | pa.ChunkedArray,
    width: int = 0,
    *,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """A column of equally long lists as float32[N, width]; without rows `width` is used.

    Chunks are read where they lie and never joined as lists: their offsets of 32 bits end at 2^31
    values, 932,000 videos of 2,304. `rows` int64[M] picks rows in that order, float32[M, width].

    >>> vectors(pa.chunked_array([[[1.0, 2.0]], [[3.0, 4.0]]]), rows=np.array([1, 1, 0])).tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts: list[NDArray[np.float32]] = [
        chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1)
        for chunk in chunks
        if len(chunk)
    ]
    if not parts:
        return np.empty((0, width), np.float32)
    if rows is None:
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], starts)
    gathered = np.empty((len(rows), parts[0].shape[1]), parts[0].dtype)
    for part, start, (first, end) in zip(parts, starts, pairwise(bounds), strict=False):
        places = order[first:end]
        gathered[places] = part[rows[places] - start]
    return gathered


def lists(rows: NDArray[np.generic]) -> pa.ListArray | pa.ChunkedArray:
    """`rows`[N, width] as a column of lists: several chunks where one's offsets would overflow."""
    size = max(1, CHUNK_VALUES // max(rows.shape[1], 1))
    chunks = [_list_array(rows[first : first + size]) for first in range(0, len(rows) or 1, size)]
    return chunks[0] if len(chunks) == 1 else pa.chunked_array(chunks)


def _list_array(rows: NDArray[np.generic]) -> pa.ListArray:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    values = pa.array(np.ascontiguousarray(rows).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def moments(us: NDArray[np.int64]) -> pa.Array:
    """Microseconds as timestamps."""
    return pa.array(us, pa.int64()).cast(TIMESTAMP)
