"""Weighted random walks over the tag graph (paper, III-A2; DeepWalk, Perozzi et al. 2014)."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from producers.tags.graph import TagGraph

PAD = -1
SIDE_BY_SIDE = 16
"""Walks of a thread that step in turns: while one waits for memory, others compute."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_walks(graph: TagGraph, *, walks: int, length: int, seed: int) -> NDArray[np.int32]:
    """Walks from every tag; a step's probability is proportional to the edge's videos.

    The paper steps by p_e of Eq. 3. Its normaliser, the sum over *all* edges, is the same for every
    edge of a node and cancels: P(u -> v) = p_uv / sum_w p_uw = x_uv / sum_w x_uw.

    Every walk has its own SplitMix64 stream, keyed by (seed, pass, start) and addressed by step, so
    the result is the same for any number of threads.

    Args:
        graph: the tag graph, T nodes.
        walks: walks from each tag.
        length: tags in a walk, its start included (paper: l = 100).
        seed: same seed and graph, same walks.

    Returns:
        int32[walks * T, length] of nodes; row `p * T + t` is the p-th walk from t. That of a tag
        without edges is that tag alone, the rest is -1.

    >>> from producers.tags.graph import build_graph
    >>> graph = build_graph(["a"], ["b"], [3], isolated=["c"])
    >>> random_walks(graph, walks=1, length=4, seed=0).tolist()
    [[0, 1, 0, 1], [1, 0, 1, 0], [2, -1, -1, -1]]
    """
    cumulative = np.concatenate([[0.0], np.cumsum(graph.weights)])
    key = np.uint64(
        mix(np.uint64(seed % 2**64))
    )  # numba hands back an int, and would take it for an int64
    out = np.full((walks * len(graph), length), PAD, np.int32)
    guides = search_guides(graph.indptr, cumulative)
    _walk(graph.indptr, graph.indices, cumulative, guides, key, out)
    return out


@numba.njit(cache=True)
def mix(z: np.uint64) -> np.uint64:
    """SplitMix64's output function: a bijection of 64 bits (Steele, Lea and Flood, OOPSLA 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@numba.njit(cache=True)
def draw(key: np.uint64, step: int) -> float:
    """Output number `step` (from 1) of the SplitMix64 stream `key`, as a float in [0, 1)."""
    return float(mix(key + np.uint64(step) * _GOLDEN) >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True)
def search_guides(indptr: NDArray[np.int64], cumulative: NDArray[np.float64]) -> NDArray[np.int32]:
    """Where :func:`find_edge` begins: int32[2 E], from a node's first edge.

    A node of n edges has n guides. The k-th is the edge of the draw k / n, so the edge of a draw in
    [k / n, (k + 1) / n) is on average at most one further (Chen and Asau, *On generating random
    variates from an empirical distribution*, AIIE Transactions 6, 1974).

    >>> search_guides(np.array([0, 4]), np.array([0.0, 1, 2, 3, 12])).tolist()
    [0, 3, 3, 3]
    """
    guides = np.empty(len(cumulative) - 1, np.int32)
    for node in range(len(indptr) - 1):
        first, end = indptr[node], indptr[node + 1]
        edge = first
        for k in range(end - first):
            target = cumulative[first] + k / (end - first) * (cumulative[end] - cumulative[first])
            while edge < end - 1 and cumulative[edge + 1] <= target:
                edge += 1
            guides[first + k] = edge - first
    return guides


@numba.njit(cache=True)
def find_edge(
    cumulative: NDArray[np.float64], guides: NDArray[np.int32], first: int, end: int, u: float
) -> int:
    """The edge e in [first, end) with cumulative[e] <= target < cumulative[e + 1].

    Guides shorten the search and don't decide it: rounding moves a draw across a guide's bound.
    """
    target = cumulative[first] + u * (cumulative[end] - cumulative[first])
    edge: int = first + guides[first + int(u * (end - first))]
    while edge > first and cumulative[edge] > target:
        edge -= 1
    while edge < end - 1 and cumulative[edge + 1] <= target:
        edge += 1
    return edge


@numba.njit(cache=True, parallel=True)
def _walk(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    cumulative: NDArray[np.float64],
    guides: NDArray[np.int32],
    seed: np.uint64,
    out: NDArray[np.int32],
) -> None:
    nodes = len(indptr) - 1
    for block in numba.prange((len(out) + SIDE_BY_SIDE - 1) // SIDE_BY_SIDE):
        rows = range(block * SIDE_BY_SIDE, min((block + 1) * SIDE_BY_SIDE, len(out)))
        for row in rows:
            out[row, 0] = row % nodes
        for step in range(1, out.shape[1]):
            for row in rows:
                node = out[row, step - 1]
                if node == PAD or indptr[node] == indptr[node + 1]:
                    continue
                u = draw(mix(seed ^ np.uint64(row + 1)), step)
                edge = find_edge(cumulative, guides, indptr[node], indptr[node + 1], u)
                out[row, step] = indices[edge]
