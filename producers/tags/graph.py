"""The tag graph: an edge's weight is the number of videos that carry both tags (III-A2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array, triu
from scipy.sparse.csgraph import connected_components

from vidtopics.errors import ContractError, explain


@dataclass(frozen=True, eq=False)
class TagGraph:
    """An undirected weighted graph in CSR form; every edge is stored from both of its ends.

    Attributes:
        tags: string[T], the nodes in byte order; a node's index is its place here.
        indptr: int64[T + 1]; the neighbours of node t are `indices[indptr[t]:indptr[t + 1]]`.
        indices: int32[2 E], neighbours, ascending within a node.
        weights: float64[2 E], x_e: videos that carry both tags, whole numbers for exact sums.
    """

    tags: pa.StringArray
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def degrees(self) -> NDArray[np.int64]:
        """int64[T], the number of neighbours of each tag."""
        return np.diff(self.indptr)

    def components(self) -> NDArray[np.int64]:
        """int64[T], connected components, numbered from 0 by falling size, then smallest tag.

        >>> build_graph(["a", "c", "d"], ["b", "d", "e"], [1, 2, 1]).components().tolist()
        [1, 1, 0, 0, 0]
        """
        matrix = csr_array((self.weights, self.indices, self.indptr), shape=(len(self), len(self)))
        return self.number_components(connected_components(matrix, directed=False)[1])

    def number_components(self, labels: ArrayLike) -> NDArray[np.int64]:
        """int64[T]: any labels of components become 0, 1, ... by falling size, then smallest tag.

        >>> graph = build_graph(["a", "c", "d"], ["b", "d", "e"], [1, 2, 1])
        >>> graph.number_components([40, 40, 7, 7, 7]).tolist()
        [1, 1, 0, 0, 0]
        """
        distinct, label = np.unique(labels, return_inverse=True)
        count = len(distinct)
        smallest = np.full(count, len(self))
        np.minimum.at(smallest, label, np.arange(len(self)))
        rank = np.empty(count, np.int64)
        rank[np.lexsort((smallest, -np.bincount(label, minlength=count)))] = np.arange(count)
        return rank[label]


def build_graph(
    tag_a: Sequence[str] | pa.Array,
    tag_b: Sequence[str] | pa.Array,
    videos: ArrayLike,
    *,
    isolated: Sequence[str] | pa.Array = (),
) -> TagGraph:
    """The graph of the rows of `tag_cooccurrence`, and of tags that have no edge.

    Args:
        tag_a: string[E], one end of each edge.
        tag_b: string[E], the other, later in byte order; so each undirected edge is given once.
        videos: int[E], x_e: videos that carry both tags, at least 1.
        isolated: further nodes, tags that videos carry alone; those with an edge are no error.

    Raises:
        ContractError: lengths differ, ends are equal, swapped or repeated, or an edge has no video.

    >>> graph = build_graph(["a", "a"], ["b", "c"], [2, 1], isolated=["z"])
    >>> graph.tags.to_pylist(), graph.degrees.tolist()
    (['a', 'b', 'c', 'z'], [2, 1, 1, 0])
    """
    a, b, weight = _strings(tag_a), _strings(tag_b), np.asarray(videos, dtype=np.float64)
    _check_lengths(len(a), len(b), len(weight))
    tags = pc.unique(pa.concat_arrays([a, b, _strings(isolated)]))
    tags = tags.take(pc.array_sort_indices(tags))
    row, column = _indices(a, tags), _indices(b, tags)
    _check_edges(row * len(tags) + column, row >= column, weight, a, b)
    ends = np.concatenate([row, column]), np.concatenate([column, row])
    matrix = coo_array(
        (np.concatenate([weight, weight]), ends), shape=(len(tags), len(tags))
    ).tocsr()
    matrix.sort_indices()
    return TagGraph(
        tags, matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data
    )


def count_pairs(tags: pa.ListArray, *, min_videos: int, max_tags_per_video: int) -> TagGraph:
    """The tag graph of these videos, as job tag_cooccurrence counts it.

    Args:
        tags: list<string>[N], the tags of each video, each once.
        min_videos: a tag on fewer videos is left out.
        max_tags_per_video: of a video with more the most frequent ones count, as pairs grow with
            the square; equally frequent ones by the tag.

    >>> tags = pa.array([["a", "b"], ["a", "b", "c"], ["c"], ["d"]])
    >>> graph = count_pairs(tags, min_videos=2, max_tags_per_video=2)
    >>> graph.tags.to_pylist(), graph.weights.tolist()
    (['a', 'b', 'c'], [2.0, 2.0])
    """
    video, tag = pc.list_parent_indices(tags), pc.list_flatten(tags).cast(pa.string())
    counted = pc.value_counts(tag)
    names = counted.field("values").filter(pc.greater_equal(counted.field("counts"), min_videos))
    names = names.take(pc.array_sort_indices(names))
    column = pc.index_in(tag, value_set=names)
    row = video.filter(pc.is_valid(column)).to_numpy()
    column = pc.drop_null(column).to_numpy()
    videos_with = np.bincount(column, minlength=len(names))
    order = np.lexsort((column, -videos_with[column], row))  # in byte order where equal
    row, column = row[order], column[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    frequent = place < max_tags_per_video
    member = csr_array(
        (np.ones(frequent.sum()), (row[frequent], column[frequent])), shape=(len(tags), len(names))
    )
    pairs = triu(member.T @ member, k=1).tocoo()
    return build_graph(
        names.take(pa.array(pairs.row)), names.take(pa.array(pairs.col)), pairs.data, isolated=names
    )


def _strings(values: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.StringArray:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    strings = (
        values.cast(pa.string()) if isinstance(values, pa.Array) else pa.array(values, pa.string())
    )
    if strings.null_count:
        at = int(np.argmax(strings.is_null().to_numpy(zero_copy_only=False)))
        raise ContractError(
            explain(
                f"tags of the graph, row {at}", expected="a tag", found="null", mend="leave it out"
            )
        )
    return strings


def _indices(values: pa.StringArray, tags: pa.StringArray) -> NDArray[np.int64]:
    indices: NDArray[np.int64] = pc.index_in(values, value_set=tags).to_numpy().astype(np.int64)
    return indices


def _check_lengths(a: int, b: int, videos: int) -> None:
    if not a == b == videos:
        found = f"{a} tag_a, {b} tag_b and {videos} videos"
        raise ContractError(
            explain(
                "tag_cooccurrence",
                expected="three columns of one length",
                found=found,
                mend="pass whole rows",
            )
        )


def _check_edges(
    edge: NDArray[np.int64],
    swapped: NDArray[np.bool_],
    weight: NDArray[np.float64],
    a: pa.StringArray,
    b: pa.StringArray,
) -> None:
    repeated = np.ones(len(edge), bool)
    repeated[np.unique(edge, return_index=True)[1]] = False
    for wrong, expected, mend in (
        (swapped, "tag_a before tag_b in byte order", "put the ends of each edge in order"),
        (repeated, "each edge once", "add up the videos of an edge before"),
        (
            ~((weight >= 1) & (weight == np.floor(weight))),
            "a whole number of videos, 1 or more",
            "leave out edges without a video",
        ),
    ):
        if wrong.any():
            at = int(np.argmax(wrong))
            found = f"({a[at]}, {b[at]}) with {weight[at]:g} videos"
            raise ContractError(
                explain(f"tag_cooccurrence, row {at}", expected=expected, found=found, mend=mend)
            )
