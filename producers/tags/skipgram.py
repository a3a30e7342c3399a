"""Skip-gram over walks gives every tag a vector, comparable from run to run (III-A2).

Mikolov et al., *Distributed Representations of Words and Phrases*, NIPS 2013.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from gensim.models import Word2Vec
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from producers.tags.graph import TagGraph
from producers.tags.vectors import TagVectors
from producers.tags.walks import random_walks
from producers.unit_length import lengths, to_unit_length
from vidtopics.errors import ContractError, explain
from vidtopics.settings import TagSettings


def embed_tags(
    graph: TagGraph, settings: TagSettings, *, seed: int, initial: TagVectors | None = None
) -> TagVectors:
    """Walk, learn, and turn the result onto the last run's space.

    With `initial`, the last run's result, tags known from it start at their old vectors; afterwards
    the space is rotated onto the old one, as skip-gram fixes it only up to a rotation. Centroids of
    topics outlive a run only so.

    Args:
        graph: the tag graph, T nodes.
        settings: walks and skip-gram.
        seed: same seed, graph and `initial`, same bytes, in any process and number of threads.
        initial: tags and vectors of the last run, or None.

    Returns:
        The graph's tags and float32[T, d].

    Raises:
        ContractError: the width of `initial` is not `settings.dimensions`.

    >>> from producers.tags.graph import build_graph
    >>> graph = build_graph(["a", "c"], ["b", "d"], [2, 1])
    >>> embed_tags(graph, TagSettings(dimensions=4), seed=7).vectors.shape
    (4, 4)
    """
    walks = random_walks(
        graph, walks=settings.walks_per_tag, length=settings.walk_length, seed=seed
    )
    if initial is None or not len(graph):
        return TagVectors(graph.tags, skip_gram(walks, len(graph), settings, seed=seed))
    _check_width(initial.vectors, settings)
    old_row = pc.index_in(graph.tags, value_set=initial.tags.cast(graph.tags.type))
    known = np.flatnonzero(pc.is_valid(old_row).to_numpy(zero_copy_only=False))
    old = initial.vectors[pc.drop_null(old_row).to_numpy()]
    new = skip_gram(walks, len(graph), settings, seed=seed, start=(known, old))
    return TagVectors(graph.tags, align(new, known, old))


def skip_gram(
    walks: NDArray[np.int32],
    nodes: int,
    settings: TagSettings,
    *,
    seed: int,
    start: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None,
) -> NDArray[np.float32]:
    """Skip-gram with negative sampling over walks, one thread, no subsampling (as in DeepWalk).

    Args:
        walks: int32[W, l], node indices, -1 where a walk has ended; every node is in some walk.
            Gensim cuts sentences at 10,000 words: l is at most that.
        nodes: T, the number of nodes.
        settings: width, window, negatives, epochs.
        seed: of first vectors, order of walks, windows and negatives.
        start: nodes int64[S] and their first vectors float32[S, d]; others start at random.

    Returns:
        float32[T, d].
    """
    if not nodes:
        return np.empty((0, settings.dimensions), np.float32)
    model = Word2Vec(
        sg=1,
        vector_size=settings.dimensions,
        window=settings.window,
        negative=settings.negatives,
        sample=0,
        min_count=1,
        sorted_vocab=0,  # words stay in their order: gensim takes a number for a place among them
        workers=1,
        seed=seed % 2**32,
        epochs=settings.epochs,
    )
    counts = np.bincount(walks[walks >= 0], minlength=nodes)
    model.build_vocab_from_freq(dict(enumerate(counts.tolist())))
    if start is not None:
        model.wv.vectors[start[0]] = start[1]
    # Rates fall during training: without a shuffle the nodes that come last in byte order would
    # learn the least.
    shuffled = walks[np.random.default_rng(seed % 2**32).permutation(len(walks))]
    model.train(_Sentences(shuffled), total_examples=len(walks), epochs=settings.epochs)
    vectors: NDArray[np.float32] = model.wv.vectors
    return vectors


def align(
    vectors: NDArray[np.float32], known: NDArray[np.int64], old: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Turn and scale float32[T, d] so that rows `known` lie near `old` (orthogonal Procrustes).

    All angles within the space stay as they are. Shared tags count alike, by direction. The scale
    is the median ratio of lengths: each warm start makes vectors about a third longer, and over
    many runs old tags would come to outweigh new ones in Eq. 4's mean.

    >>> turned = np.array([[0, 2], [-2, 0], [-4, 4]], np.float32)
    >>> align(turned, np.array([0, 1]), np.array([[1, 0], [0, 1]], np.float32)).round(6).tolist()
    [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]
    """
    if not len(known):
        return vectors
    new, before = vectors[known].astype(np.float64), old.astype(np.float64)
    rotation, _ = orthogonal_procrustes(to_unit_length(new), to_unit_length(before))
    scale = np.median(lengths(before) / lengths(new))
    aligned: NDArray[np.float32] = (vectors.astype(np.float64) @ rotation * scale).astype(
        np.float32
    )
    return aligned


@dataclass(frozen=True)
class _Sentences:
    """Walks as gensim reads them: lists of int, made in blocks, as a list takes 40 bytes a step."""

    walks: NDArray[np.int32]

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, len(self.walks), 1024):
            yield from self.walks[first : first + 1024].tolist()


def keep_known(space: TagVectors, known: TagVectors) -> TagVectors:
    """The space with the old vectors of the tags that were known; both lie in one space.

    >>> import pyarrow as pa
    >>> old = TagVectors(pa.array(["a", "c"]), np.array([[1, 0], [0, 1]], np.float32))
    >>> new = TagVectors(pa.array(["a", "b"]), np.array([[0.9, 0.1], [0.5, 0.5]], np.float32))
    >>> keep_known(new, old).vectors.tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    row = pc.fill_null(pc.index_in(space.tags, value_set=known.tags.cast(space.tags.type)), -1)
    at = row.to_numpy(zero_copy_only=False)
    vectors = space.vectors.copy()
    vectors[at >= 0] = known.vectors[at[at >= 0]]
    return TagVectors(space.tags, vectors)


def _check_width(vectors: NDArray[np.float32], settings: TagSettings) -> None:
    if vectors.shape[1] != settings.dimensions:
        raise ContractError(
            explain(
                "initial tag vectors",
                expected=f"width {settings.dimensions}",
                found=f"width {vectors.shape[1]}",
                mend="start without initial vectors, and a new topic epoch, for another width",
            )
        )
