"""Numbers for a ranker of one's own: of the log's impressions to learn from, of a request to serve.

Both go through the encoding of the platform's models (:mod:`consumers.ranking.inputs`), so that a
column means in serving what it meant in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from consumers.encoding.numbers import NAMES, TOPIC_NAMES
from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.requests import Encoded, encode_request
from vidtopics.contracts import SERVICES, USER_RECENT_CLICKS, USER_RECENT_SKIPS, VIDEO_TOPICS
from vidtopics.times import micros

if TYPE_CHECKING:
    from consumers.ranking.examples import Examples
    from consumers.ranking.problems import Source
    from consumers.retrieval import Store
    from vidtopics.online import Features


@dataclass(frozen=True, eq=False)
class Encoder:
    """Rows and requests as a matrix, columns `names`; it can be pickled beside one's model.

    Attributes:
        known: topic centres, prior and means of the rows that it was learned from.
        places: length of the history at most, `ranking.history`.
        half_life_us: of decayed counts, `users.half_life`.
    """

    known: Vocabulary
    places: int
    half_life_us: int

    plain_names = NAMES
    """The first columns: of user, video and their pair; nothing of topics."""
    names = (*NAMES, *TOPIC_NAMES)

    @classmethod
    def learn(cls, source: Source, rows: NDArray[np.int64]) -> Encoder:
        """From the rows that one's model learns from, and no others."""
        settings = source.settings
        half_life_us = settings.users.half_life // timedelta(microseconds=1)
        return cls(source.vocabulary(rows), settings.ranking.history, half_life_us)

    def encode_log(self, source: Source) -> NDArray[np.float32]:
        """float32[N, C]: of all rows of `source.frame`, in its order."""
        return _matrix(source.examples(self.known))

    def encode_request(
        self, client: Store, user_id: str, video_ids: Sequence[str], *, at_us: int | None = None
    ) -> NDArray[np.float32]:
        """float32[N, C]: of a user's N candidates, as an online store has them.

        Two round trips of one release: the views of `ranking_v2`, and the topics of the user's
        history. Who or what is unknown has the values of one that nothing is known of.

        Args:
            client: :class:`vidtopics.online.OnlineClient`.
            user_id: who for.
            video_ids: the candidates.
            at_us: the time of the request, microseconds since 1970; None: now.

        Raises:
            StoreError: nothing was materialised under the client's prefix.
            redis.exceptions.RedisError: the server can't be reached.
        """
        if not video_ids:
            return np.zeros((0, len(self.names)), np.float32)
        release = client.snapshot()
        views = [v.name for v in SERVICES["ranking_v2"] if v.name in release.directory().views]
        features = release.read_entities(views, {"video": video_ids, "user": [user_id]})
        history = [
            *_first(features.get(USER_RECENT_CLICKS.name), "recent_video_ids"),
            *_first(features.get(USER_RECENT_SKIPS.name), "skipped_video_ids"),
        ]
        at_us = micros(datetime.now(UTC)) if at_us is None else at_us
        topics = release.read(VIDEO_TOPICS.name, history)
        request = _Request(user_id, list(video_ids), at_us, history, topics)
        encoded = encode_request(
            request, features, self.known, half_life_us=self.half_life_us, places=self.places
        )
        return _matrix(encoded)


@dataclass(frozen=True)
class _Request:
    """A :class:`consumers.ranking.requests.Request`."""

    user_id: str
    video_ids: list[str]
    at_us: int
    history: list[str]
    history_topics: Features


def _matrix(rows: Examples | Encoded) -> NDArray[np.float32]:
    return np.concatenate([rows.numbers, rows.topic_numbers], axis=1)


def _first(rows: Features | None, name: str) -> list[str]:
    """The list in the only row; empty where there is none."""
    return [] if rows is None else list(rows[name][0] or ())
