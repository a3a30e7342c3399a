"""What a model knows of its training rows: ids with their codes, centres, and the prior."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.encoding.topics import Centres
from vidtopics.rates import Prior


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


def _code(ids: pa.ChunkedArray | pa.Array, known: pa.Array) -> NDArray[np.int32]:
    codes: NDArray[np.int32] = (
        pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy().astype(np.int32) + 1
    )
    return codes
