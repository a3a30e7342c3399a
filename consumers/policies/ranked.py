"""Recall, then rank, for thousands of users: the production path, and its variants by topics."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from consumers.policies.frames import Candidates, FrameMaker
from consumers.policies.recall import ManyRecall, Recalled
from consumers.policies.slates import EXPLORATION, fill_slates
from consumers.ranking.inputs import encode
from consumers.ranking.models import Model
from consumers.ranking.store import Stored
from consumers.ranking.train import one_thread, predict
from vidtopics.simulation.platform import Platform

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
PART = 128
"""Users that are served at once by one thread."""


class ManyScorer(Protocol):
    """Click probabilities of many users' candidates."""

    def score(
        self, platform: Platform, users: Ints, now_us: Ints, candidates: Candidates
    ) -> NDArray[np.float32]:
        """float32[N], in the order of `candidates`."""


class ManyRanker:
    """A trained ranking model on many users' candidates.

    The encoding and the model are those of :class:`consumers.ranking.serve.Ranker`; a test compares
    the scores.

    Attributes:
        stored: the model and what it knows.
        frames: makes frames of candidates.
        covers: float32[V, 128] where the model reads cover features.
    """

    def __init__(
        self, stored: Stored, frames: FrameMaker, covers: NDArray[np.float32] | None = None
    ) -> None:
        self.stored, self.frames, self.covers = stored, frames, covers
        self.model: Model = stored.model

    def score(
        self, platform: Platform, users: Ints, now_us: Ints, candidates: Candidates
    ) -> NDArray[np.float32]:
        """float32[N], in the order of `candidates`."""
        if not len(candidates.user):
            return np.zeros(0, np.float32)
        frame = self.frames.make(platform, users, now_us, candidates)
        stored = self.stored
        return predict(
            self.model, encode(frame, stored.known, places=stored.places, covers=self.covers)
        )


class RankedPolicy:
    """The best of what recall finds and a ranking model scores.

    Slots are the candidates by falling score, ties in the order of recall, and a share of
    exploration (:mod:`consumers.policies.slates`).
    """

    def __init__(self, name: str, seed: int, recall: ManyRecall, scorer: ManyScorer) -> None:
        self.name, self._seed, self._recall, self._scorer = name, seed, recall, scorer

    def open_day(self, day: int, platform: Platform) -> None:
        """Close yesterday's counts into today's queues."""
        self._recall.open_day(day, platform)

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
            ranked = self.rank(users[part], now_us[part], platform)
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

    def rank(self, users: Ints, now_us: Ints, platform: Platform) -> Codes:
        """int32[n, N_3]: each user's candidates, the best first, -1 behind the last."""
        recalled: Recalled = self._recall.recall_users(users, platform)
        candidates = Candidates.of(recalled.videos)
        scores = np.full(recalled.videos.shape, -np.inf, np.float32)
        scores[recalled.videos >= 0] = self._scorer.score(platform, users, now_us, candidates)
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked: Codes = np.take_along_axis(recalled.videos, order, axis=1)
        return ranked


def in_parts(serve: Callable[[slice], None], users: int) -> None:
    """Call `serve` for each PART of the users, on all cores; torch takes one thread in each."""
    parts = [slice(first, first + PART) for first in range(0, users, PART)]
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(serve, parts))
