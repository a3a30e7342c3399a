"""`user_topics` with a user's events, by the topics that their videos have now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from consumers.live.events import Ints, UserEvents
from consumers.live.rows import number, with_values
from consumers.live.rules import LiveRules
from consumers.live.users import DECAYED_AT, Floats, halved
from vidtopics.online import Features

COUNTS = ("exposures", "clicks", "expected")
LEVELS = {"user_topic": "topic_ids", "user_parent": "parent_topic_ids"}
"""The lists of a user, and the slots of a video that they are counted by."""


class Sums(NamedTuple):
    """K topics, or parents: ids, and float64[K, 4], exposures, clicks, expected, decayed ones."""

    ids: Ints
    counts: Floats


@dataclass(frozen=True, eq=False)
class LiveTopics:
    """A user's events in topics.

    Attributes:
        events: E impressions and clicks of V videos.
        expected: float64[E], the expected clicks of each impression.
        videos: `video_topics` of the V videos, in the order of `events.videos`.
        statistics: the release's row of `user_statistics`; None: the store has no such view.
        rules: of the home.
        since_us: the release's as-of time.
    """

    events: UserEvents
    expected: Floats
    videos: Features
    statistics: Features | None
    rules: LiveRules
    since_us: int

    def added_to(self, rows: Features, epoch: int) -> Features:
        """The only row of `user_topics` with the events since; itself where none has a topic.

        Exposures, clicks and expected clicks are sums over shares, as the job's, of the topics that
        the lists hold; one that isn't among as many topics as lists may hold begins at 0.
        Of the release's topics the view has no decayed exposures: they are taken as the exposures
        times the user's own decayed share, and at most as those of the topic before, so that
        without events their order stays.

        Args:
            rows: the release's row, present or not.
            epoch: of the topics, where the user has no row.
        """
        epoch = int(cast("Any", rows["user_topic_epoch"][0])) if rows.present[0] else epoch
        shares = self._shares(epoch)
        if not shares.any():
            return rows
        values: dict[str, object] = {"user_topic_epoch": epoch}
        limits = (self.rules.topics, self.rules.parents)
        for (prefix, slots), limit in zip(LEVELS.items(), limits, strict=True):
            live = self._sums(cast("Ints", self.videos[slots]), shares)
            values |= _lists(prefix, merged(self._earlier(rows, prefix), live, limit))
        return with_values(rows, values, self.since_us)

    def _shares(self, epoch: int) -> Floats:
        """float64[V, 8] that add up to 1, 0 in unused slots and of another epoch's topics."""
        current = self.videos.present & np.equal(self.videos["topic_epoch"], epoch)
        used = (cast("Ints", self.videos["topic_ids"]) >= 0) & current[:, None]
        weights = np.maximum(cast("Floats", self.videos["topic_weights"]).astype(np.float64), 0)
        weights = np.where(used, weights, 0)
        weights = np.where(weights.any(axis=1, keepdims=True), weights, used)
        total = weights.sum(axis=1, keepdims=True)
        shares: Floats = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        return shares

    def _sums(self, slots: Ints, shares: Floats) -> Sums:
        """Over the events, of each topic or parent in [V, 8] slots."""
        events, place = self.events, {v: i for i, v in enumerate(self.events.videos)}
        shown = np.array([place[v] for v in events.shown], np.intp)
        clicked = np.array([place[v] for v in events.clicked], np.intp)
        decay = halved(events.shown_us, self._at_us, self.rules.half_life_us)
        sums = ((shown, None), (clicked, None), (shown, self.expected), (shown, decay))
        by_video = [np.bincount(at, weights, len(place)) for at, weights in sums]
        is_counted = (slots >= 0) & (shares > 0)
        ids, inverse = np.unique(slots[is_counted], return_inverse=True)
        video, _ = np.nonzero(is_counted)
        share = shares[is_counted]
        counts = [np.bincount(inverse, share * column[video], len(ids)) for column in by_video]
        return Sums(ids.astype(np.int64), np.stack(counts, axis=1))

    def _earlier(self, rows: Features, prefix: str) -> Sums:
        """The release's topics in their order, with the decayed exposures that they may have."""
        if not rows.present[0]:
            return Sums(np.zeros(0, np.int64), np.zeros((0, 4)))
        ids = np.array(rows[f"{prefix}_ids"][0], np.int64)
        counts = [np.array(rows[f"{prefix}_{name}"][0], np.float64) for name in COUNTS]
        decayed = np.minimum.accumulate(counts[0] * self._decayed_share)
        return Sums(ids, np.stack([*counts, decayed], axis=1))

    @property
    def _at_us(self) -> int:
        return max(self.events.last_us, int(number(self.statistics, DECAYED_AT)))

    @property
    def _decayed_share(self) -> float:
        """Of the user's exposures before the release, what has not decayed by the last event."""
        exposures = number(self.statistics, "user_exposures")
        if not exposures:
            return float(halved(self.since_us, self._at_us, self.rules.half_life_us))
        since_us = int(number(self.statistics, DECAYED_AT))
        decayed = number(self.statistics, "user_decayed_exposures") / exposures
        return decayed * float(halved(since_us, self._at_us, self.rules.half_life_us))


def merged(earlier: Sums, live: Sums, limit: int) -> Sums:
    """Both added up, by falling decayed exposures, `limit` at most.

    Of equals those of the release come first, in their order; others by ascending id.

    >>> earlier = Sums(np.array([4, 2]), np.array([[3, 1, 1, 2.0], [1, 0, 1, 1.0]]))
    >>> live = Sums(np.array([2, 9]), np.array([[1, 1, 0.5, 1.5], [1, 0, 0.5, 0.5]]))
    >>> merged(earlier, live, 2).ids.tolist(), merged(earlier, live, 2).counts[0].tolist()
    ([2, 4], [2.0, 1.0, 1.5, 2.5])
    """
    where = {topic: place for place, topic in enumerate(earlier.ids.tolist())}
    places = np.array([where.get(topic, -1) for topic in live.ids.tolist()], np.intp)
    is_new = places < 0
    ids = np.concatenate([earlier.ids, live.ids[is_new]])
    counts = np.concatenate([earlier.counts, live.counts[is_new]])
    counts[places[~is_new]] += live.counts[~is_new]
    order = np.argsort(-counts[:, 3], kind="stable")[:limit]
    return Sums(ids[order], counts[order])


def _lists(prefix: str, sums: Sums) -> Iterator[tuple[str, NDArray[np.generic]]]:
    yield f"{prefix}_ids", sums.ids
    for column, name in enumerate(COUNTS):
        yield f"{prefix}_{name}", sums.counts[:, column].astype(np.float32)
