"""Inputs as Arrow tables for jobs that compute on one machine."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from producers.content.weights import encoder_identity
from vidtopics.contracts import VIDEO_CATALOG, VIDEO_CONTENT_ENCODING, VIDEO_TAGS
from vidtopics.errors import TableError, explain
from vidtopics.jobs.job import Run
from vidtopics.settings import ContentSettings
from vidtopics.tables.schemas import TIMESTAMP

Encodings: TypeAlias = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]
]
"""Image float32[N, image], title float32[N, title], has_image bool[N], has_title bool[N]."""


def live_videos(run: Run, *columns: str) -> pa.Table:
    """The catalogue's videos that are not taken down as of the run, by video_id."""
    names = dict.fromkeys(["video_id", "removed_at", *columns])
    rows = run.read(VIDEO_CATALOG, *names)
    live = pc.greater(pc.fill_null(rows["removed_at"].cast(pa.int64()), 2**62), run.as_of_us)
    return rows.filter(live).select(["video_id", *columns]).sort_by("video_id").combine_chunks()


def held_out(content_hashes: pa.ChunkedArray, settings: ContentSettings) -> NDArray[np.bool_]:
    """Which videos never train, by cover and title: copies are on one side."""
    from producers.content.dataset import holdout

    return holdout(content_hashes.to_pylist(), settings.holdout_share)


def training_videos(run: Run) -> pa.Array:
    """IDs of the live videos that train, string."""
    videos = live_videos(run, "content_hash")
    trains = ~held_out(videos["content_hash"], run.settings.content)
    return videos["video_id"].filter(pa.array(trains)).combine_chunks()


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


def count_tags(tags: pa.ListArray, min_videos: int) -> pa.Table:
    """(tag, video_count) of the tags that at least `min_videos` of the lists have."""
    counts = pc.value_counts(tags.flatten())
    counted = pa.table({"tag": counts.field("values"), "video_count": counts.field("counts")})
    return counted.filter(pc.greater_equal(counted["video_count"], min_videos))


def content_settings(run: Run) -> ContentSettings:
    """How the run encodes and represents: as its topic model version did, else as set."""
    version = run.model_version
    if version is None:
        return run.settings.content
    return ContentSettings.model_validate(version.settings["content"])


def encoder_of(run: Run) -> str:
    """Identity of the encoders whose outputs the run reads."""
    version = run.model_version
    return version.encoder if version else encoder_identity(run.settings.content)


def read_encodings(content_hashes: pa.ChunkedArray, run: Run) -> Encodings:
    """Encoder outputs of each video's content, whenever it was encoded.

    Raises:
        TableError: a content has no encoding by the run's encoders.
    """
    hashes = content_hashes.combine_chunks()
    of_videos = ds.field("content_hash").isin(hashes) & (ds.field("encoder") == encoder_of(run))
    rows = run.tables.read(VIDEO_CONTENT_ENCODING, where=of_videos).combine_chunks()
    at = pc.index_in(hashes, value_set=rows["content_hash"].combine_chunks())
    if at.null_count:
        raise TableError(
            explain(
                "video_content_encoding",
                expected="every live video",
                found=f"{at.null_count} missing",
                mend="vidtopics run video_content_encoding",
            )
        )
    rows = rows.take(at)
    return (
        vectors(rows["image_encoding"]),
        vectors(rows["title_encoding"]),
        rows["has_image"].to_numpy(),
        rows["has_title"].to_numpy(),
    )


def take(encodings: Encodings, rows: NDArray[np.int64]) -> Encodings:
    """Those rows of each array."""
    image, title, has_image, has_title = encodings
    return image[rows], title[rows], has_image[rows], has_title[rows]


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
