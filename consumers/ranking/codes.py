"""What a model knows of its training rows: ids with their codes, centres, and the prior."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.training.frame import Frame
from consumers.training.inputs import ViewRows
from consumers.training.tallies import Centres
from vidtopics.rates import Prior

HOUR_US = 3_600_000_000


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The ids that a model knows; code 0 stands for all others.

    Attributes:
        users: user ids.
        videos: video ids, of candidates and of histories.
        centres: the topics, and how near they are to each other.
        prior: what the rate of a video with few impressions is drawn to; clicks over impressions
            of the training rows.
        position: mean of the training rows' log positions; what a row has whose position is not
            known, as every candidate's isn't when serving.
        age: mean of their log ages, likewise: no feature view has when a video was published.
    """

    users: pa.Array
    videos: pa.Array
    centres: Centres
    prior: Prior
    position: float
    age: float

    @cached_property
    def user_codes(self) -> dict[str, int]:
        """The code of each user: for a request's few ids, which Arrow would hash all users for."""
        return {user: code for code, user in enumerate(self.users.to_pylist(), 1)}

    @cached_property
    def video_codes(self) -> dict[str, int]:
        """The code of each video, likewise."""
        return {video: code for code, video in enumerate(self.videos.to_pylist(), 1)}

    def code_users(self, ids: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
        """int32[N], 1 and up; 0: unknown."""
        return _code(ids, self.users)

    def code_videos(self, ids: pa.ChunkedArray | pa.Array) -> NDArray[np.int32]:
        """int32[N], 1 and up; 0: unknown."""
        return _code(ids, self.videos)


def vocabulary(
    frame: Frame,
    rows: NDArray[np.int64],
    topics: ViewRows,
    *,
    epoch: int,
    prior_exposures: float,
) -> Vocabulary:
    """The ids, centres and prior of some rows of a frame: a model must not know of others.

    Args:
        frame: N rows.
        rows: int64, those to learn from.
        topics: rows of table `topics`; those of the epoch count that were known when the last of
            `rows` was shown.
        epoch: of the topics, as the release says.
        prior_exposures: w of the prior.
    """
    users, videos = (
        pc.unique(frame.impressions[name].take(pa.array(rows))).sort()
        for name in ("user_id", "video_id")
    )
    until_us = int(frame.content_us[rows].max(initial=0))
    prior = Prior.of_totals(int(frame.clicked[rows].sum()), len(rows), exposures=prior_exposures)
    return Vocabulary(
        users,
        videos,
        centres_at(topics, until_us, epoch),
        prior,
        _mean_of_known(log_position(frame.positions, np.nan)[rows]),
        _mean_of_known(log_age(frame.published_us, frame.shown_us, np.nan)[rows]),
    )


def centres_at(topics: ViewRows, until_us: int, epoch: int) -> Centres:
    """The centres of an epoch's topics, as known at a time; retired ones too."""
    ids = pc.unique(topics.keys["topic_id"]).sort()
    at = topics.known(pa.table({"topic_id": ids}), np.full(len(ids), until_us))
    values = topics.values.take(pa.array(at[at >= 0]))
    here = pc.fill_null(pc.equal(values["topic_epoch"], epoch), False).to_numpy()
    values = values.filter(pa.array(here))
    chosen = ids.to_numpy()[at >= 0][here]
    if not len(chosen):
        return Centres.of(chosen, np.zeros((0, 1), np.float32), chosen, epoch)
    centroids = pc.list_flatten(values["centroid"]).to_numpy().reshape(len(chosen), -1)
    parents = values["parent_topic_id"].fill_null(-1).to_numpy().astype(np.int64)
    return Centres.of(chosen, centroids.astype(np.float32), parents, epoch)


def log_position(positions: NDArray[np.float64], unknown: float) -> NDArray[np.float32]:
    """float32[N], log of the positions in the refresh, `unknown` where there is none (NaN)."""
    logs: NDArray[np.float32] = np.log(np.maximum(positions, 1)).astype(np.float32)
    logs[np.isnan(logs)] = unknown
    return logs


def log_age(
    published_us: NDArray[np.float64], shown_us: NDArray[np.int64], unknown: float
) -> NDArray[np.float32]:
    """float32[N], log(1 + hours since publication) / 5, `unknown` where that isn't known (NaN).

    A fifth, as of all logarithms of counts here, brings it near the other numbers.
    """
    age_us = np.maximum(shown_us - published_us, 0)
    logs: NDArray[np.float32] = (np.log1p(age_us / HOUR_US) / 5).astype(np.float32)
    logs[np.isnan(logs)] = unknown
    return logs


def _mean_of_known(values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else 0.0


def _code(ids: pa.ChunkedArray | pa.Array, known: pa.Array) -> NDArray[np.int32]:
    codes: NDArray[np.int32] = (
        pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy().astype(np.int32) + 1
    )
    return codes
