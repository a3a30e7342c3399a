"""How much of what consumers learned stays: first topics and sets of topics before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.topics.assignment import top_centroids
from producers.topics.rows import Rows
from vidtopics.contracts import TOPIC_SLOTS
from vidtopics.settings import TopicSettings

JUDGED = 10_000
"""Videos that are looked at: a share of .85 is known within .004."""


class Kept(NamedTuple):
    """Shares of videos that keep their first topic, and their set of topics."""

    first: float
    whole: float


@dataclass(frozen=True, eq=False)
class Judge:
    """Says whether centres leave enough videos where they were.

    Attributes:
        points: float32[J, D], length 1.
        threshold: float32[J], tau_3 of each.
        last: int64[J, slots], their topics before.
        least: what has to stay.
    """

    points: NDArray[np.float32]
    threshold: NDArray[np.float32]
    last: NDArray[np.int64]
    least: Kept
    device: str

    def allows(self, topic_ids: NDArray[np.int64], centroids: NDArray[np.float32]) -> bool:
        """Whether at least `least` stay with these centres."""
        share = self.kept(topic_ids, centroids)
        return share.first >= self.least.first and share.whole >= self.least.whole

    def kept(self, topic_ids: NDArray[np.int64], centroids: NDArray[np.float32]) -> Kept:
        """What stays with these centres, int64[K] ascending and float32[K, D]."""
        now = slots_of(self.points, self.threshold, topic_ids, centroids, device=self.device)
        return compare_rows(self.last, now)


def draw_judge(
    videos: Rows,
    threshold: NDArray[np.float32],
    known: NDArray[np.bool_],
    last: NDArray[np.int64] | None,
    centres: tuple[NDArray[np.int64], NDArray[np.float32]],
    settings: TopicSettings,
    rng: np.random.Generator,
    device: str,
) -> Judge:
    """A judge over at most :data:`JUDGED` of the `known` videos, whose topics were `last`.

    `centres` are IDs and centroids before any birth and step. What they give is `last` where that
    is None; where they keep less of `last` than the settings ask for, since representations are
    others, that is what has to stay.
    """
    rows = np.flatnonzero(known)
    if len(rows) > JUDGED:
        rows = rng.choice(rows, JUDGED, replace=False)
    points, threshold = videos.take(rows), threshold[rows]
    now = slots_of(points, threshold, *centres, device=device)
    before = now if last is None else last[rows]
    stays = compare_rows(before, now)
    least = Kept(
        min(stays.first, settings.keep_first),
        min(stays.whole, settings.keep_set),
    )
    return Judge(points, threshold, before, least, device)


def compare_rows(before: NDArray[np.int64], after: NDArray[np.int64]) -> Kept:
    """Shares of rows with the same first ID, and with the same IDs in any order; all of no row.

    >>> compare_rows(np.array([[3, 5, -1], [4, -1, -1]]), np.array([[5, 3, -1], [4, -1, -1]]))
    Kept(first=0.5, whole=1.0)
    """
    if not len(before):
        return Kept(1.0, 1.0)
    same_set = (np.sort(before, axis=1) == np.sort(after, axis=1)).all(axis=1)
    return Kept(float((before[:, 0] == after[:, 0]).mean()), float(same_set.mean()))


def slots_of(
    points: NDArray[np.float32],
    threshold: NDArray[np.float32],
    topic_ids: NDArray[np.int64],
    centroids: NDArray[np.float32],
    *,
    device: str,
) -> NDArray[np.int64]:
    """The IDs of each video's slots, int64[N, slots], the nearest first, padded with -1."""
    rank, cosine = top_centroids(points, centroids, TOPIC_SLOTS, device=device)
    within = cosine >= threshold[:, None]
    within[:, 0] = True
    return np.where(within, topic_ids[rank], -1)
