"""The ranking model inside a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.ranking.bags import Matrix, bags, mean_topics
from consumers.ranking.examples import Examples, numbers
from consumers.ranking.storing import restore
from consumers.ranking.vocabulary import Vocabulary, topic_weights
from consumers.ranking.wide_and_deep import WideAndDeep, probabilities
from consumers.retrieval import Candidates
from vidtopics.online import Features


class Ranker:
    """Click probabilities of a user's candidates, by the model of `vidtopics train ranking`.

    It reads what :mod:`vidtopics.online` gives, as the training frame reads the tables: a video
    without statistics or topics, whatever the status says why, is one of which nothing was known;
    topics of another epoch than the model's count as none.
    """

    def __init__(self, model: WideAndDeep, known: Vocabulary) -> None:
        self.model = model
        self.known = known

    @classmethod
    def load(cls, folder: Path) -> Ranker:
        """The model in a folder (`models/ranking` of a home); TableError where there is none."""
        return cls(*restore(folder))

    def score(
        self, candidates: Candidates, features: Mapping[str, Features]
    ) -> NDArray[np.float32]:
        """float32[N], the click probability of each candidate.

        Args:
            candidates: of a user; unknown ones get what a new user gets.
            features: views `video_topics` and `video_statistics` of the candidates.
        """
        ids, history = candidates.video_ids, candidates.clicks
        topics, statistics = features["video_topics"], features["video_statistics"]
        n, ends = len(ids), np.array([0, len(history)])
        shared = np.zeros(n, np.int64)
        has_statistics = statistics.present
        exposures, video_clicks = (
            np.where(has_statistics, _column(statistics, name), np.nan)
            for name in ("video_exposures", "video_clicks")
        )
        examples = Examples(
            clicked=np.zeros(n, bool),
            shown_us=shared,
            user=np.repeat(self.known.code_users(pa.array([candidates.user_id], pa.string())), n),
            video=self.known.code_videos(pa.array(ids, pa.string())),
            numbers=numbers(
                exposures, video_clicks, self.known.prior, np.array([len(history)]), shared
            ),
            topics=self._topics(topics),
            history=shared,
            clicks=bags(
                ends,
                self.known.code_videos(pa.array(list(history), pa.string())),
                len(self.known.videos) + 1,
            ),
            tastes=mean_topics(
                ends, np.arange(len(history)), self._topics(candidates.history_topics)
            ),
        )
        return probabilities(self.model, examples)

    def _topics(self, features: Features) -> Matrix:
        ids, epochs = (
            _column(features, "topic_ids").astype(np.int64),
            _column(features, "topic_epoch").astype(np.int64),
        )
        return topic_weights(
            ids, _column(features, "topic_weights").astype(np.float32), epochs, self.known
        )


def _column(features: Features, name: str) -> NDArray[np.float64]:
    return cast("NDArray[np.float64]", features[name])
