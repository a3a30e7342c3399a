"""Skip-gram with negative sampling over walks, by stochastic gradient steps of one thread.

Mikolov et al., *Distributed Representations of Words and Phrases*, NIPS 2013, Eq. 4.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from producers.tags.walks import PAD, draw, find_edge, mix, search_guides

FIRST_RATE, LAST_RATE = 0.025, 0.0001
"""Learning rates of word2vec's first and last step; between them it falls linearly."""
POWER = 0.75
"""A negative is drawn in proportion to this power of its occurrences (section 2.2)."""
ANY_ORDER = {"reassoc", "contract", "nsz"}
"""Sums over a vector may be made in any order, as vector registers need it."""


def learn_from_walks(
    walks: NDArray[np.int32],
    vectors: NDArray[np.float32],
    *,
    window: int,
    negatives: int,
    epochs: int,
    seed: int,
) -> None:
    """Train `vectors` in place; the same bytes for the same arguments, on one kind of processor.

    Args:
        walks: int32[W, l], nodes, -1 where a walk has ended; its rows in the order of learning.
        vectors: float32[T, d], the nodes' first vectors.
        window: a node's contexts are up to this many steps away, by an even draw of 1 to `window`.
        negatives: drawn for each pair of node and context.
        epochs: passes over all walks.
        seed: of windows and negatives.

    >>> vectors = np.ones((2, 3), np.float32)
    >>> walks = np.array([[0, 1]], np.int32)
    >>> learn_from_walks(walks, vectors, window=1, negatives=1, epochs=1, seed=0)
    >>> bool(np.isfinite(vectors).all())
    True
    """
    counts = np.bincount(walks[walks != PAD], minlength=len(vectors))
    cumulative = np.concatenate([[0.0], np.cumsum(counts**POWER)])
    guides = search_guides(np.array([0, len(vectors)]), cumulative)
    key = np.uint64(mix(np.uint64(seed)))
    _learn(walks, vectors, cumulative, guides, window, negatives, epochs, key)


@numba.njit(cache=True)
def _learn(
    walks: NDArray[np.int32],
    vectors: NDArray[np.float32],
    cumulative: NDArray[np.float64],
    guides: NDArray[np.int32],
    window: int,
    negatives: int,
    epochs: int,
    key: np.uint64,
) -> None:
    outputs = np.zeros_like(vectors)  # u of Eq. 4; vectors are v
    targets = np.empty(negatives + 1, np.int64)
    steps = np.empty(negatives + 1, np.float32)
    change = np.empty(vectors.shape[1], np.float32)
    draws = 0
    for walk in range(epochs * len(walks)):
        nodes = walks[walk % len(walks)]
        progress = walk / (epochs * len(walks))
        rate = np.float32(FIRST_RATE - (FIRST_RATE - LAST_RATE) * progress)
        length = len(nodes)
        while nodes[length - 1] == PAD:
            length -= 1
        for place in range(length):
            draws += 1
            reach = 1 + int(draw(key, draws) * window)
            targets[0] = nodes[place]
            for other in range(max(0, place - reach), min(length, place + reach + 1)):
                if other == place:
                    continue
                for i in range(1, negatives + 1):
                    draws += 1
                    u = draw(key, draws)
                    targets[i] = find_edge(cumulative, guides, 0, len(vectors), u)
                _learn_pair(vectors, outputs, nodes[other], targets, rate, steps, change)


@numba.njit(cache=True, fastmath=ANY_ORDER)
def _learn_pair(
    vectors: NDArray[np.float32],
    outputs: NDArray[np.float32],
    context: int,
    targets: NDArray[np.int64],
    rate: np.float32,
    steps: NDArray[np.float32],
    change: NDArray[np.float32],
) -> None:
    """The context's vector v against u of a node, `targets[0]`, and of its negatives.

    With s_i = sigmoid(v . u_i), v moves by the sum of rate (y_i - s_i) u_i and each u_i by
    rate (y_i - s_i) v, where y is 1 for the node and 0 for a negative. A negative that is the node
    itself is left out. All products come before the first move, so that the processor loads the
    rows of all targets at once.
    """
    width = vectors.shape[1]
    for i in range(len(targets)):
        product = np.float32(0)
        for k in range(width):
            product += vectors[context, k] * outputs[targets[i], k]
        steps[i] = product
    for i in range(len(targets)):
        label = np.float32(i == 0)
        steps[i] = rate * (label - np.float32(1) / (np.float32(1) + np.exp(-steps[i])))
        if i > 0 and targets[i] == targets[0]:
            steps[i] = 0
    change[:] = 0
    for i in range(len(targets)):
        for k in range(width):
            change[k] += steps[i] * outputs[targets[i], k]
            outputs[targets[i], k] += steps[i] * vectors[context, k]
    for k in range(width):
        vectors[context, k] += change[k]
