"""Vectors of tags that came after the tag space was trained, from the tags that they stand with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array

from producers.tags.vectors import TagVectors


class FoldedTags(NamedTuple):
    """Tags string[T] in the order given, their vectors, and each one's heaviest neighbour.

    Vectors are float32[T, d], neighbours rows of the tag space, int64[T].
    """

    tags: pa.StringArray
    vectors: NDArray[np.float32]
    nearest: NDArray[np.int64]


def fold_in(
    tags: pa.LargeListArray | pa.ListArray, new: pa.StringArray, space: TagVectors
) -> FoldedTags:
    r"""Each new tag's vector is the mean of its neighbours' vectors, weighted by common videos.

    .. math:: e_j = \sum_i x_{ij} e_i / \sum_i x_{ij}

    x_ij is the number of videos that carry both tags, as Eq. 3 counts it, and i a tag of the space.
    A tag of no such video, and one whose neighbours cancel, is left out.

    Args:
        tags: list<string>[N], the tags of each video, each once.
        new: string[M], none of them in the space.
        space: tags and vectors of the last training.

    >>> space = TagVectors(pa.array(["cat", "dog"]), np.array([[3, 0], [0, 3]], np.float32))
    >>> tags = pa.array([["cat", "kitten"], ["cat", "dog", "kitten"], ["lonely"]])
    >>> folded = fold_in(tags, pa.array(["kitten", "lonely"]), space)
    >>> folded.tags.to_pylist(), folded.vectors.tolist(), folded.nearest.tolist()
    (['kitten'], [[2.0, 1.0]], [0])
    """
    of_new, of_space = (_members(tags, names) for names in (new, space.tags))
    counts = (of_new.T @ of_space).tocsr()
    counts.sort_indices()
    total = counts.sum(axis=1)
    sums = counts @ space.vectors.astype(np.float64)
    has = np.flatnonzero((total > 0) & sums.any(axis=1))
    vectors = sums[has] / total[has, None]
    nearest = [_heaviest(counts, row) for row in has.tolist()]
    return FoldedTags(
        new.take(pa.array(has)), vectors.astype(np.float32), np.array(nearest, np.int64)
    )


def with_new_tags(space: TagVectors, tags: pa.LargeListArray, min_videos: int) -> TagVectors:
    """The space with the tags on at least `min_videos` videos that it lacks, in byte order.

    >>> space = TagVectors(pa.array(["cat"]), np.array([[3, 0]], np.float32))
    >>> tags = pa.array([["cat", "a"], ["cat", "a"], ["cat", "rare"]])
    >>> with_new_tags(space, tags, 2).tags.to_pylist()
    ['a', 'cat']
    """
    counts = pc.value_counts(pc.list_flatten(tags))
    frequent = pc.greater_equal(counts.field("counts"), min_videos)
    names = counts.field("values").filter(frequent).cast(space.tags.type)
    new = names.filter(pc.invert(pc.is_in(names, value_set=space.tags)))
    folded = fold_in(tags, new, space)
    every = pa.concat_arrays([space.tags, folded.tags])
    order = pc.array_sort_indices(every)
    vectors = np.concatenate([space.vectors, folded.vectors])[order.to_numpy()]
    return TagVectors(every.take(order), vectors)


def _heaviest(counts: csr_array, row: int) -> int:
    """The column of a row's greatest count, the first of equals."""
    first, last = counts.indptr[row], counts.indptr[row + 1]
    return int(counts.indices[first + np.argmax(counts.data[first:last])])


def _members(tags: pa.LargeListArray | pa.ListArray, names: pa.StringArray) -> csr_array:
    """float64[N, names], 1 where a video carries the tag."""
    video = pc.list_parent_indices(tags).to_numpy().astype(np.int64)
    column = pc.index_in(pc.list_flatten(tags), value_set=names.cast(tags.type.value_type))
    column = pc.fill_null(column, -1).to_numpy().astype(np.int64)
    has = column >= 0
    member = csr_array(
        (np.ones(has.sum()), (video[has], column[has])), shape=(len(tags), len(names))
    )
    member.sum_duplicates()
    return member
