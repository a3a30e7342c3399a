"""A video's tag representation is the mean of its tags' vectors (Eq. 4)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from producers.tags.vectors import TagVectors
from producers.unit_length import lengths, to_unit_length

ROWS = 65_536
"""Pooled at a time: sums in double precision stay below 100 MB."""


class Pooled(NamedTuple):
    """float32[N, d] of length 1 and int64[N], the tags in each; both 0 where none has a vector."""

    tag_embedding: NDArray[np.float32]
    tag_count: NDArray[np.int64]


def pool(
    video: NDArray[np.int64], tag: NDArray[np.int64], vectors: NDArray[np.float32], *, videos: int
) -> Pooled:
    """Eq. 4 for pairs of a video and a tag, at length 1 as `video_tag_embedding` has it.

    A video's tags are a set: their order and repetition change no byte, nor does what else is in
    the batch.

    Args:
        video: int64[P], 0 to `videos` - 1.
        tag: int64[P], rows of `vectors`; -1: the tag has no vector.
        vectors: float32[T, d].
        videos: N.

    >>> vectors = np.array([[3, 0], [0, 3], [0, -3]], np.float32)
    >>> pooled = pool(np.array([0, 0, 1, 3, 3]), np.array([0, 1, -1, 1, 2]), vectors, videos=4)
    >>> pooled.tag_embedding.astype(float).round(4).tolist()
    [[0.7071, 0.7071], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    >>> pooled.tag_count.tolist()  # the last video's tags cancel: it counts as without tags
    [2, 0, 0, 0]
    """
    has = tag >= 0
    member = csr_array((np.ones(has.sum()), (video[has], tag[has])), shape=(videos, len(vectors)))
    member.sum_duplicates()  # sorts too: a video's vectors are added in one order
    member.data[:] = 1  # a repeated pair is one tag
    space = vectors.astype(np.float64)
    pooled = Pooled(np.empty((videos, vectors.shape[1]), np.float32), np.diff(member.indptr))
    for rows in (slice(first, first + ROWS) for first in range(0, videos, ROWS)):
        total = member[rows] @ space
        pooled.tag_embedding[rows] = to_unit_length(total)  # the mean's 1 / v cancels
        pooled.tag_count[rows][lengths(total) == 0] = 0
    return pooled._replace(tag_count=pooled.tag_count.astype(np.int64))


def pool_lists(tags: pa.ListArray, embedding: TagVectors) -> Pooled:
    """Eq. 4 for one list of tags a video, as an Arrow batch has them; null is an empty list.

    >>> embedding = TagVectors(pa.array(["cat", "dog"]), np.array([[2, 0], [0, 2]], np.float32))
    >>> pool_lists(pa.array([["dog"], None, ["cat", "unknown"]]), embedding).tag_embedding.tolist()
    [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    """
    video = pc.list_parent_indices(tags).to_numpy().astype(np.int64)
    names = embedding.tags.cast(tags.type.value_type)  # engines differ in string types
    row = pc.fill_null(pc.index_in(pc.list_flatten(tags), value_set=names), -1)
    return pool(video, row.to_numpy().astype(np.int64), embedding.vectors, videos=len(tags))
