"""What a model knows of its training rows: ids with their codes, and the prior of a rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from consumers.ranking.bags import Matrix, unit_rows
from consumers.training import Frame
from vidtopics.rates import Prior


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The ids that a model knows; code 0 of users and videos stands for all others.

    Attributes:
        users: user ids.
        videos: video ids, of candidates and of histories.
        topics: int64[T], ascending; topics of other ids are as none.
        epoch: in which the topics are comparable; topics of another one are as none.
        prior: what the rate of a video with few impressions is drawn to; clicks over impressions
            of the training rows.
    """

    users: pa.Array
    videos: pa.Array
    topics: NDArray[np.int64]
    epoch: int
    prior: Prior

    def code_users(self, ids: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
        """int64[N], 1 and up; 0: unknown."""
        return _code(ids, self.users)

    def code_videos(self, ids: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
        """int64[N], 1 and up; 0: unknown."""
        return _code(ids, self.videos)


def vocabulary(
    parts: Sequence[Frame], rows: NDArray[np.bool_], *, epoch: int, prior_exposures: float
) -> Vocabulary:
    """The ids and the prior of some rows of frames: a model must not know of others.

    Args:
        parts: frames with N rows in all.
        rows: bool[N], those to learn from.
        epoch: of the topics, as the release says.
        prior_exposures: w of the prior.
    """
    users, videos, topics, clicks = [], [], [], 0
    for frame, mask in _split(parts, rows):
        users.append(pc.unique(frame.impressions["user_id"].filter(pa.array(mask))))
        videos.append(pc.unique(frame.impressions["video_id"].filter(pa.array(mask))))
        slots = frame.features["topic_ids"].filter(pa.array(mask))
        topics.append(np.unique(pc.list_flatten(slots).to_numpy()))
        clicks += int(frame.clicked[mask].sum())
    known = np.unique(np.concatenate([np.empty(0, np.int64), *topics]))
    prior = Prior.of_totals(clicks, int(rows.sum()), exposures=prior_exposures)
    return Vocabulary(_distinct(users), _distinct(videos), known[known >= 0], epoch, prior)


def topic_weights(
    ids: NDArray[np.int64],
    weights: NDArray[np.float32],
    epochs: NDArray[np.int64],
    known: Vocabulary,
) -> Matrix:
    """[N, T] of topic slots.

    The weights of known topics of the vocabulary's epoch, divided by their sum; no others.

    Args:
        ids: int64[N, slots], -1 in unused slots.
        weights: float32[N, slots], at or below 0 as good as unused.
        epochs: int64[N].
        known: the vocabulary.

    >>> none = pa.array([], pa.string())
    >>> known = Vocabulary(none, none, np.array([3, 8]), 1, Prior(0.1, 10))
    >>> ids = np.array([[8, 3, -1], [9, 8, -1], [3, -1, -1]])
    >>> weights = np.array([[0.6, 0.2, 0], [0.9, 0.5, 0], [0.7, 0, 0]], np.float32)
    >>> topic_weights(ids, weights, np.array([1, 1, 2]), known).toarray().round(2).tolist()
    [[0.25, 0.75], [0.0, 1.0], [0.0, 0.0]]
    """
    place = np.searchsorted(known.topics, ids)
    place[place == len(known.topics)] = 0
    in_use = (ids >= 0) & (weights > 0) & (epochs == known.epoch)[:, None]
    in_use &= known.topics[place] == ids if len(known.topics) else False
    rows = np.nonzero(in_use)[0]
    shape = (len(ids), len(known.topics))
    return unit_rows(sparse.csr_array((weights[in_use], (rows, place[in_use])), shape=shape))


def _split(
    parts: Sequence[Frame], rows: NDArray[np.bool_]
) -> Iterable[tuple[Frame, NDArray[np.bool_]]]:
    ends = np.cumsum([len(frame) for frame in parts])
    return zip(parts, np.split(rows, ends[:-1]), strict=True)


def _code(ids: pa.ChunkedArray | pa.Array, known: pa.Array) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = (
        pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy().astype(np.int64) + 1
    )
    return codes


def _distinct(parts: list[pa.Array]) -> pa.Array:
    return pc.unique(pa.chunked_array(parts, pa.string())).sort()
