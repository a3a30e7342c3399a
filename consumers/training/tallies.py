"""What the topics that a user met say of a candidate: sums over the user's topics.

One definition for training and serving: :mod:`consumers.training.replay` calls it with the state
before each impression, :class:`Served` with rows of the view `user_topics`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from consumers.encoding.topics import SHRINKAGES, Centres, Slots, TopicRows, TopicSums, code

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


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
