"""Content nearest neighbours: the videos that are most like what the user clicked."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from consumers.policies.catalog import Catalog
from consumers.policies.ranked import PART, in_parts
from consumers.policies.slates import EXPLORATION, fill_slates
from vidtopics.simulation.platform import Platform

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


class ContentPolicy:
    """Live videos by the cosine of their joint embedding to the mean of the clicked videos'.

    What the user saw of late is left out. A user without a click that has an embedding gets the
    videos with the most decayed clicks of midnight.
    """

    name = "content"

    def __init__(self, seed: int, catalog: Catalog) -> None:
        self._seed, self._embeddings = seed, catalog.embeddings
        self._live, self._popular = np.empty(0, np.int32), np.empty(0, np.float32)

    def open_day(self, day: int, platform: Platform) -> None:
        """Take in the live videos and their places by clicks."""
        self._live = platform.live
        clicks = platform.known.decayed_clicks[platform.live]
        places = np.argsort(np.argsort(-clicks, kind="stable"), kind="stable")
        self._popular = -places.astype(np.float32)

    def choose(
        self,
        day: int,
        refresh: int,
        users: Ints,
        now_us: Ints,
        platform: Platform,
        slates: Codes,
        propensities: NDArray[np.float32],
    ) -> None:
        """As :class:`vidtopics.simulation.policy.Policy`."""

        def serve(part: slice) -> None:
            ranked = self.rank(users[part], platform, 2 * slates.shape[1])
            fill_slates(
                self._seed,
                day,
                refresh,
                users[part],
                platform.live,
                ranked,
                EXPLORATION,
                slates[part],
                propensities[part],
            )

        in_parts(serve, len(users))

    def rank(self, users: Ints, platform: Platform, length: int) -> Codes:
        """int32[n, length]: unseen live videos, the most similar first, -1 behind the last."""
        rows = platform.users
        # A product's last bits depend on its shape: parts of all sizes are computed in one.
        profiles = np.zeros((PART, self._embeddings.shape[1]), np.float32)
        seen = np.zeros((len(users), len(self._embeddings)), bool)
        _profile(users, rows.video, rows.clicked, rows.shown, self._embeddings, profiles, seen)
        scores = (profiles @ self._embeddings[self._live].T)[: len(users)]
        is_new = ~profiles[: len(users)].any(axis=1)
        scores[is_new] = self._popular
        scores[seen[:, self._live]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :length]
        is_seen = np.isneginf(np.take_along_axis(scores, order, axis=1))
        ranked: Codes = np.where(is_seen, -1, self._live[order]).astype(np.int32)
        return ranked


@numba.njit(cache=True, nogil=True)
def _profile(
    users: Ints,
    ring_video: Codes,
    ring_clicked: NDArray[np.int8],
    shown: Ints,
    embeddings: NDArray[np.float32],
    profiles: NDArray[np.float32],
    seen: NDArray[np.bool_],
) -> None:
    """Sums of the embeddings of each user's recent clicks, and what the user saw of late."""
    size = ring_video.shape[1]
    for i in range(len(users)):
        for back in range(1, min(shown[users[i]], size) + 1):
            place = (shown[users[i]] - back) % size
            video = ring_video[users[i], place]
            seen[i, video] = True
            if ring_clicked[users[i], place]:
                for d in range(embeddings.shape[1]):
                    profiles[i, d] += embeddings[video, d]
