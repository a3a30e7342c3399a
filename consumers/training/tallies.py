"""What the topics that a user met say of a candidate: sums over the user's topics.

One definition for training and serving: :mod:`consumers.training.replay` calls it with the state
before each impression, :class:`Served` with rows of the view `user_topics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
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


@numba.njit(cache=True)
def add_sums(
    ids: Codes,
    counts: NDArray[np.float64],
    codes: Codes,
    shares: Floats,
    kernels: Floats,
    match: Floats,
    kernel: Floats,
) -> None:
    """Add one user's topics to one candidate's sums.

    ids: [n] codes of the user's topics; counts: [n, 3], exposures, clicks, expected clicks;
    codes, shares: [8], the candidate's.
    """
    for slot in range(len(codes)):
        if codes[slot] > 0:
            add_topic(ids, counts, codes[slot], shares[slot], kernels, match, kernel)


@numba.njit(cache=True, nogil=True)
def add_topic(
    ids: Codes,
    counts: NDArray[np.float64],
    topic: int,
    share: float,
    kernels: Floats,
    match: Floats | NDArray[np.float64],
    kernel: Floats | NDArray[np.float64],
) -> None:
    """Add what one user's topics say of one topic, `share` times."""
    for k in range(len(ids)):
        exposures, clicks, expected = counts[k, 0], counts[k, 1], counts[k, 2]
        if exposures <= 0:
            continue
        residual = clicks - expected
        variance = max(expected * (1 - expected / exposures), 0.0)
        if ids[k] == topic:
            match[0] += share * exposures
            match[1] += share * clicks
            for c in range(4):
                match[2 + c] += share * residual / (variance + SHRINKAGES[c])
            kernel[0, 0] += share * residual
            kernel[0, 1] += share * variance
        for s in range(len(kernels)):
            weight = share * kernels[s, topic, ids[k]]
            kernel[1 + s, 0] += weight * residual
            kernel[1 + s, 1] += weight * variance


@dataclass(frozen=True, eq=False)
class Served:
    """States as rows of the user's views: those that a store had, or that one request read.

    Attributes:
        statistics: float64[N, 6], as :data:`consumers.training.replay.STATISTICS`.
        row: int64[N], rows of the lists below; -1: none.
        levels: of topics and of parents: where each of R lists begins (int64[R + 1]), ids
            (int64[L]), and float64[L, 3], exposures, clicks, expected clicks.
        epochs: int64[R], of the ids.
    """

    statistics: NDArray[np.float64]
    row: NDArray[np.int64]
    levels: tuple[Slots, Slots]
    epochs: NDArray[np.int64]

    def topic_sums(
        self, candidate: NDArray[np.int32], topics: TopicRows, centres: Centres
    ) -> TopicSums:
        """As :meth:`consumers.training.replay.Replay.topic_sums`, of the lists as they are."""
        sums = TopicSums.empty(len(candidate))
        row = np.where(self.row >= 0, self.row, 0)
        usable = self.row >= 0
        if len(self.epochs):
            usable &= self.epochs[row] == centres.epoch
        row = np.where(usable, row, -1)
        for level, (starts, ids, counts) in enumerate(self.levels):
            _sum_lists(
                row,
                starts,
                code(ids, centres.ids if level == 0 else centres.parents),
                counts,
                candidate,
                topics.codes if level == 0 else topics.parents,
                topics.shares,
                topics.size(level),
                centres.kernels if level == 0 else np.zeros((0, 1, 1), np.float32),
                *sums.of_level(level),
            )
        return sums


@numba.njit(cache=True, nogil=True)
def _sum_lists(
    row: Ints,
    starts: Ints,
    ids: Codes,
    counts: NDArray[np.float64],
    candidate: Codes,
    codes: Codes,
    shares: Floats,
    size: int,
    kernels: Floats,
    match: Floats,
    kernel: Floats,
) -> None:
    """Sums of all rows; what a list says of a topic is added up once for rows that share it.

    A request's candidates all share their user's list.
    """
    topic_match = np.zeros((size, match.shape[1]))
    topic_kernel = np.zeros((size, kernel.shape[1], 2))
    list_of_topic = np.full(size, -1)
    for n in range(len(row)):
        if row[n] < 0 or candidate[n] < 0:
            continue
        low, high = starts[row[n]], starts[row[n] + 1]
        for slot in range(codes.shape[1]):
            topic, share = codes[candidate[n], slot], shares[candidate[n], slot]
            if topic <= 0:
                continue
            if list_of_topic[topic] != row[n]:
                list_of_topic[topic] = row[n]
                topic_match[topic], topic_kernel[topic] = 0, 0
                add_topic(
                    ids[low:high],
                    counts[low:high],
                    topic,
                    1.0,
                    kernels,
                    topic_match[topic],
                    topic_kernel[topic],
                )
            for c in range(match.shape[1]):
                match[n, c] += share * topic_match[topic, c]
            for s in range(kernel.shape[1]):
                kernel[n, s, 0] += share * topic_kernel[topic, s, 0]
                kernel[n, s, 1] += share * topic_kernel[topic, s, 1]
