"""The ranking model inside a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.requests import encode_request
from consumers.ranking.store import Stored, restore
from consumers.ranking.train import one_thread, predict
from consumers.retrieval.recall import Candidates
from vidtopics.online import Features


class Ranker:
    """Click probabilities of a user's candidates, by the model of `vidtopics train ranking`.

    It reads what :mod:`vidtopics.online` gives, in the encoding that training has: a video without
    statistics or topics, whatever the status says why, is one of which nothing was known; topics of
    another epoch than the model's count as none.
    """

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        _ = stored.known.user_codes, stored.known.video_codes  # now, not in the first request

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """The model in a folder (`models/ranking` of a home); TableError where there is none."""
        return cls(restore(folder))

    def score(
        self, candidates: Candidates, features: Mapping[str, Features]
    ) -> NDArray[np.float32]:
        """float32[N]: click probability of each candidate.

        Args:
            candidates: N videos of one user, with the history that recall read.
            features: feature views by name, as one read of `ranking_v2` gave them: a row for each
                candidate in views of entity `video`, one row in views of entity `user`.
        """
        if not candidates.video_ids:
            return np.zeros(0, np.float32)
        stored = self.stored
        examples = encode_request(
            candidates,
            features,
            stored.known,
            half_life_us=stored.half_life_us,
            places=stored.places,
        )
        with one_thread():  # for so few rows threads cost more than they share
            return predict(stored.model, examples)
