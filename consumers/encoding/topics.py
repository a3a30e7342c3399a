"""Topics in codes: the centres of an epoch, rows of topics, and sums over a user's topics.

What training and serving share; neither numba nor torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import TOPIC_SLOTS

SHRINKAGES = (0.5, 2.0, 10.0, 40.0)
SHARPNESS = (4.0, 10.0)
"""Of the kernels exp(s (cos - 1)) over topic centres."""
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Centres:
    """The T topics of an epoch: code t + 1 is topic `ids[t]`.

    Attributes:
        ids: int64[T], ascending.
        kernels: float32[2, T + 1, T + 1], exp(s (cos - 1)) for each of SHARPNESS; 0 at code 0.
        parents: int64[P], ascending; code p + 1 is parent `parents[p]`.
        epoch: in which they are comparable.
    """

    ids: NDArray[np.int64]
    kernels: Floats
    parents: NDArray[np.int64]
    epoch: int

    @classmethod
    def of(
        cls, ids: NDArray[np.int64], centroids: Floats, parents: NDArray[np.int64], epoch: int
    ) -> Centres:
        """From T centres of length 1, float32[T, D], in any order.

        >>> axes = np.eye(2, dtype=np.float32)
        >>> centres = Centres.of(np.array([7, 3]), axes, np.array([], np.int64), 1)
        >>> centres.ids.tolist(), (100 * centres.kernels[0]).astype(int).tolist()  # exp(-4)
        ([3, 7], [[0, 0, 0], [0, 100, 1], [0, 1, 100]])
        """
        order = np.argsort(ids)
        cosine = centroids[order] @ centroids[order].T
        kernels = np.zeros((len(SHARPNESS), len(ids) + 1, len(ids) + 1), np.float32)
        for kernel, sharpness in zip(kernels, SHARPNESS, strict=True):
            kernel[1:, 1:] = np.exp(sharpness * (cosine - 1))
        return cls(ids[order], kernels, np.unique(parents[parents >= 0]), epoch)


@dataclass(frozen=True, eq=False)
class TopicRows:
    """R rows of the view `video_topics` in codes; those of another epoch are as without topics.

    Attributes:
        codes: int32[R, 8], 0 in unused slots and for unknown topics.
        weights: float32[R, 8], cosines, 0 where the code is.
        shares: float32[R, 8], positive weights over their sum; alike where none is positive.
        parents: int32[R, 8], codes of the topics' parents.
        used: bool[R], whether the row has any topic.
    """

    codes: NDArray[np.int32]
    weights: Floats
    shares: Floats
    parents: NDArray[np.int32]
    used: NDArray[np.bool_]
    sizes: tuple[int, int]

    @classmethod
    def of(cls, rows: pa.Table, centres: Centres) -> TopicRows:
        """From topic_ids, topic_weights, topic_epoch and parent_topic_ids; null in a tombstone."""
        return cls.of_slots(
            slots(rows, "topic_ids", np.int64, -1),
            slots(rows, "topic_weights", np.float32, 0),
            slots(rows, "parent_topic_ids", np.int64, -1),
            pc.fill_null(rows["topic_epoch"], -1).to_numpy(),
            centres,
        )

    @classmethod
    def of_slots(
        cls, ids: Ints, weights: Floats, parent_ids: Ints, epochs: Ints, centres: Centres
    ) -> TopicRows:
        """From [R, 8] each, which it may change, -1 and 0 in unused slots; and epochs, int64[R]."""
        ids[epochs != centres.epoch] = -1
        codes = code(ids, centres.ids)
        weights[codes == 0] = 0
        in_use = (codes > 0).astype(np.float32)
        positive = np.where((weights > 0).any(1, keepdims=True), np.maximum(weights, 0), in_use)
        total = positive.sum(1, keepdims=True)
        shares = np.divide(positive, total, out=np.zeros_like(positive), where=total > 0)
        parents = code(parent_ids, centres.parents)
        parents[codes == 0] = 0
        sizes = len(centres.ids) + 1, len(centres.parents) + 1
        used: NDArray[np.bool_] = np.any(codes > 0, axis=1)
        return cls(codes, weights, shares, parents, used, sizes)

    def size(self, level: int) -> int:
        """Codes of topics (level 0) or parents (1)."""
        return self.sizes[level]


class Slots(NamedTuple):
    """R lists of ids with counts, one after the other: where each begins, ids, counts [L, 3]."""

    starts: NDArray[np.int64]
    ids: NDArray[np.int64]
    counts: NDArray[np.float64]


class TopicSums(NamedTuple):
    """float32 sums over a user's topics t, weighted by how they fit each of N candidates.

    Attributes:
        match: [N, 2 + C], over the candidate's topics k by share: exposures, clicks, and the
            residual (clicks - expected) / (variance + c) for each of SHRINKAGES.
        kernel: [N, 1 + S, 2], residual and variance: by share of the same topic, then by each
            kernel over centres.
        parents: [N, 2 + C], `match` of parent topics.
        parent_kernel: [N, 1, 2], by share of the same parent.
    """

    match: Floats
    kernel: Floats
    parents: Floats
    parent_kernel: Floats

    @classmethod
    def empty(cls, n: int) -> TopicSums:
        """N rows of zeros."""
        width = 2 + len(SHRINKAGES)
        return cls(
            np.zeros((n, width), np.float32),
            np.zeros((n, 1 + len(SHARPNESS), 2), np.float32),
            np.zeros((n, width), np.float32),
            np.zeros((n, 1, 2), np.float32),
        )

    def of_level(self, level: int) -> tuple[Floats, Floats]:
        """The arrays of topics (level 0) or parents (1)."""
        return (self.match, self.kernel) if level == 0 else (self.parents, self.parent_kernel)


def slots(rows: pa.Table, name: str, kind: type, pad: float) -> NDArray[Any]:
    """[R, 8] of a column of slots; `pad` where the row is null, or the column isn't there."""
    out: NDArray[Any] = np.full((len(rows), TOPIC_SLOTS), pad, kind)
    if name in rows.column_names and len(rows):
        valid = pc.is_valid(rows[name]).to_numpy()
        flat = pc.list_flatten(rows[name]).to_numpy().astype(kind)
        out[valid] = flat.reshape(-1, TOPIC_SLOTS)
    return out


def code(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32, the place of each id in `known` (ascending), from 1; 0: it isn't there.

    >>> code(np.array([[8, -1], [3, 9]]), np.array([3, 8])).tolist()
    [[2, 0], [1, 0]]
    """
    if not len(known):
        return np.zeros(ids.shape, np.int32)
    place = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[place] == ids, place + 1, 0).astype(np.int32)
