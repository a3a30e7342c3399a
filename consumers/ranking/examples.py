"""What Wide&Deep reads: ids as codes, bags of ids as sparse matrices, a few numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from consumers.ranking.bags import Matrix, bags, mean_topics
from consumers.ranking.vocabulary import Vocabulary, topic_weights
from consumers.training import Frame
from vidtopics.contracts import TOPIC_SLOTS
from vidtopics.rates import Prior, smoothed_ctr

NUMBERS = 4
"""Log exposures, log-odds of the smoothed CTR, whether statistics exist, log length of the
history."""


@dataclass(frozen=True, eq=False)
class Examples:
    """N impressions as a model reads them.

    V videos and T topics of its vocabulary, Q histories that they share.

    Attributes:
        clicked: bool[N].
        shown_us: int64[N].
        user: int64[N] codes.
        video: int64[N] codes.
        numbers: float32[N, 4], see :data:`NUMBERS`.
        topics: [N, T], weights of the candidate's topics, adding up to 1.
        history: int64[N], rows of the two below.
        clicks: [Q, V + 1], each known video of a history at one over their number.
        tastes: [Q, T], mean of `topics` over the history's videos that have some.
    """

    clicked: NDArray[np.bool_]
    shown_us: NDArray[np.int64]
    user: NDArray[np.int64]
    video: NDArray[np.int64]
    numbers: NDArray[np.float32]
    topics: Matrix
    history: NDArray[np.int64]
    clicks: Matrix
    tastes: Matrix

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """Some of the impressions; they go on sharing the histories."""
        narrow = {
            name: getattr(self, name)[rows]
            for name in ("clicked", "shown_us", "user", "video", "numbers", "topics", "history")
        }
        return replace(self, **narrow)


def encode(parts: Iterable[Frame], known: Vocabulary) -> Examples:
    """The frames' rows as examples."""
    return _concatenate([_encode(frame, known) for frame in parts])


def numbers(
    exposures: NDArray[np.float64],
    clicks: NDArray[np.float64],
    prior: Prior,
    lengths: NDArray[np.int64],
    history: NDArray[np.int64],
) -> NDArray[np.float32]:
    """float32[N, 4], see :data:`NUMBERS`.

    Args:
        exposures: float64[N], impressions of each candidate; NaN where no statistics were known.
        clicks: float64[N], its clicks; NaN likewise.
        prior: the model's, so that equal counts are equal numbers, in training and at any time
            after it.
        lengths: int64[Q], clicks in each history.
        history: int64[N], rows of `lengths`.

    >>> prior, one = Prior(0.2, 10), np.array([0])
    >>> counts = np.array([10.0]), np.array([8.0])
    >>> numbers(*counts, prior, np.array([0]), one).round(2)  # a rate of .5: log-odds 0
    array([[0.48, 0.  , 1.  , 0.  ]], dtype=float32)
    """
    has_statistics = ~np.isnan(exposures)
    odds = np.clip(
        np.where(has_statistics, smoothed_ctr(clicks, exposures, prior), 0.5), 1e-4, 1 - 1e-4
    )
    columns = [
        np.where(has_statistics, np.log1p(np.where(has_statistics, exposures, 0)) / 5, 0),
        np.log(odds / (1 - odds)),
        has_statistics,
        np.log1p(lengths)[history] / 5,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _encode(frame: Frame, known: Vocabulary) -> Examples:
    clicks = bags(
        frame.offsets, known.code_videos(frame.videos)[frame.history_videos], len(known.videos) + 1
    )
    tastes = mean_topics(frame.offsets, frame.history_topics, _topics(frame.topics, known))
    exposures, video_clicks = (
        frame.features[name].cast(pa.float64()).fill_null(np.nan).to_numpy()
        for name in ("video_exposures", "video_clicks")
    )
    return Examples(
        frame.clicked,
        frame.impressions["event_us"].to_numpy(),
        known.code_users(frame.impressions["user_id"]),
        known.code_videos(frame.impressions["video_id"]),
        numbers(exposures, video_clicks, known.prior, np.diff(frame.offsets), frame.history),
        _topics(frame.features, known),
        frame.history,
        clicks,
        tastes,
    )


def _topics(rows: pa.Table, known: Vocabulary) -> Matrix:
    """[N, T] of the columns of `video_topics`, null or not."""
    valid = np.flatnonzero(pc.is_valid(rows["topic_ids"]).to_numpy())
    topics = rows.select(["topic_ids", "topic_weights", "topic_epoch"]).take(pa.array(valid))
    ids, weights = (
        pc.list_flatten(topics[name]).to_numpy().reshape(-1, TOPIC_SLOTS)
        for name in ("topic_ids", "topic_weights")
    )
    weights_by_topic = topic_weights(ids, weights, topics["topic_epoch"].to_numpy(), known).tocoo()
    shape = (len(rows), len(known.topics))
    return sparse.csr_array(
        (weights_by_topic.data, (valid[weights_by_topic.row], weights_by_topic.col)), shape=shape
    )


def _concatenate(parts: list[Examples]) -> Examples:
    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    def stacked(name: str) -> Matrix:
        return Matrix(sparse.vstack([getattr(part, name) for part in parts]))

    starts = np.cumsum([0, *(part.clicks.shape[0] for part in parts)])
    return Examples(
        clicked=joined("clicked"),
        shown_us=joined("shown_us"),
        user=joined("user"),
        video=joined("video"),
        numbers=joined("numbers"),
        topics=stacked("topics"),
        history=np.concatenate(
            [part.history + start for part, start in zip(parts, starts, strict=False)]
        ),
        clicks=stacked("clicks"),
        tastes=stacked("tastes"),
    )
