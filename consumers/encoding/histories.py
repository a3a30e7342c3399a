"""What one user's history and topics say of N candidates, in numpy.

The same numbers as :mod:`consumers.ranking.inputs` counts of a log's windows and
:mod:`consumers.training.tallies` of many users' lists, by compiled loops; tests hold the two
together.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumers.encoding.numbers import TIERS
from consumers.encoding.topics import SHRINKAGES, Centres, TopicRows, TopicSums, code

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Codes = NDArray[np.int32]


class History(NamedTuple):
    """L earlier impressions of the user, oldest first.

    Attributes:
        video: int32[L], numbers of videos.
        times_us: int64[L].
        clicked: bool[L].
        row: int64[L], rows of topics; -1: none.
    """

    video: Codes
    times_us: NDArray[np.int64]
    clicked: NDArray[np.bool_]
    row: NDArray[np.int64]


class MetTopics(NamedTuple):
    """n topics, or parents, that a user met.

    Attributes:
        ids: int64[n].
        counts: float64[n, 3], exposures, clicks, expected clicks.
    """

    ids: NDArray[np.int64]
    counts: Doubles


def window_counts(history: History, video: Codes, rows: slice, topics: TopicRows) -> Floats:
    """float32[N, 4 + 2 * tiers]: length, clicks; exposures, clicks of the candidate; tiers.

    Args:
        history: of the user.
        video: int32[N], the candidates' numbers.
        rows: the candidates' rows of `topics`.
        topics: of history and candidates.
    """
    out = np.zeros((len(video), 4 + 2 * (len(TIERS) + 1)), np.float32)
    kinds = np.stack([~history.clicked, history.clicked]).astype(np.float32)
    out[:, 0], out[:, 1] = len(history.video), history.clicked.sum()
    same = (history.video[:, None] == video).astype(np.float32)
    out[:, 2], out[:, 3] = same.sum(0), kinds[1] @ same
    overlaps = _overlaps(history.row, rows, topics)
    above = [kinds @ (overlaps > tier).astype(np.float32) for tier in (0.0, *TIERS)]
    above.append(np.zeros_like(above[0]))
    tiers = np.stack([low - high for low, high in pairwise(above)], axis=1)
    out[:, 4:] = tiers.reshape(-1, len(video)).T
    return out


def _overlaps(row: NDArray[np.int64], candidates: slice, topics: TopicRows) -> Floats:
    """float32[L, N]: cosine of the topic weights of each entry and each candidate.

    Products are added slot by slot, as the compiled loop does: a sum that lies on a tier's end must
    fall on the same side of it.
    """
    norms = np.sqrt((topics.weights**2).sum(1, keepdims=True))
    unit = np.divide(topics.weights, norms, out=np.zeros_like(topics.weights), where=norms > 0)
    past = np.where(row[:, None] >= 0, topics.codes[row], 0)
    distinct, places = np.unique(np.append(0, past), return_inverse=True)
    places = places[1:].reshape(past.shape)
    place_of = np.zeros(topics.size(0), np.int64)
    place_of[distinct] = np.arange(len(distinct))
    own_codes, own_unit = topics.codes[candidates], unit[candidates]
    weight_of = np.zeros((len(distinct), len(own_codes)), np.float32)
    for slot in range(past.shape[1]):
        weight_of[place_of[own_codes[:, slot]], np.arange(len(own_codes))] = own_unit[:, slot]
    weight_of[0] = 0  # where topics that the history lacks have gone, too
    overlaps = np.zeros((len(row), len(own_codes)), np.float32)
    for slot in range(past.shape[1]):
        overlaps += unit[row, slot][:, None] * weight_of[places[:, slot]]
    return overlaps


def topic_sums(
    met: tuple[MetTopics, MetTopics], rows: slice, topics: TopicRows, centres: Centres
) -> TopicSums:
    """What the topics and parents that a user met say of each candidate.

    Args:
        met: topics, and parents.
        rows: the candidates' rows of `topics`.
        topics: of candidates.
        centres: of the model.
    """
    no_kernels = np.zeros((0, 1, 1), np.float32)
    shares = topics.shares[rows]
    own = _sums_of(
        code(met[0].ids, centres.ids), met[0].counts, topics.codes[rows], shares, centres.kernels
    )
    parents = _sums_of(
        code(met[1].ids, centres.parents), met[1].counts, topics.parents[rows], shares, no_kernels
    )
    return TopicSums(*own, *parents)


def _sums_of(
    ids: Codes, counts: Doubles, codes: Codes, shares: Floats, kernels: Floats
) -> tuple[Floats, Floats]:
    """`match` and `kernel` of :class:`TopicSums`: sums for each distinct topic, then by slots."""
    shown = counts[:, 0] > 0
    ids, (exposures, clicks, expected) = ids[shown], counts[shown].T
    residual = clicks - expected
    variance = np.maximum(expected * (1 - expected / exposures), 0.0)
    distinct, place = np.unique(codes, return_inverse=True)
    same = (distinct[:, None] == ids).astype(np.float64)
    shrunk = [residual / (variance + shrinkage) for shrinkage in SHRINKAGES]
    match = same @ np.stack([exposures, clicks, *shrunk], axis=1)
    pair = np.stack([residual, variance], axis=1)
    by_kernel = [
        same @ pair,
        *(kernel[np.ix_(distinct, ids)].astype(float) @ pair for kernel in kernels),
    ]
    per_topic = np.concatenate([match, np.concatenate(by_kernel, axis=1)], axis=1)
    per_topic[distinct <= 0] = 0
    sums = np.zeros((len(codes), per_topic.shape[1]), np.float32)
    for slot, share in zip(place.reshape(codes.shape).T, shares.T, strict=True):
        sums = (sums + share[:, None].astype(np.float64) * per_topic[slot]).astype(np.float32)
    width = match.shape[1]
    return sums[:, :width], sums[:, width:].reshape(len(codes), -1, 2)
