"""Recall against the online store.

Three or four round trips from a user to candidates with their reasons, all of one release: topics
of one and queues of another could name other things by the same number.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from consumers.retrieval.choosing import Popularity, choose
from consumers.retrieval.epochs import first_rows, left_out, of_epoch
from consumers.retrieval.rules import Reason, count_topics
from consumers.retrieval.tilting import Popular, Taste
from vidtopics.contracts import CATALOGUE, USER_RECENT_CLICKS, USER_RECENT_SKIPS, VIDEO_TOPICS
from vidtopics.layout import queue_name
from vidtopics.online import Catalogue, Features
from vidtopics.settings import RecallSettings
from vidtopics.times import micros

NO_TOPIC = "no topic"
NEW_USER = "new user"
NO_TOPICS = "no recent click has a current topic"
CLICKED = (USER_RECENT_CLICKS.name, "recent_video_ids")
SKIPPED = (USER_RECENT_SKIPS.name, "skipped_video_ids")


class Views(Protocol):
    """What a store says of itself."""

    @property
    def views(self) -> Collection[str]:
        """The views that it has."""


class Store(Protocol):
    """What recall and ranking read: an online client, or the tables of a release."""

    def snapshot(self) -> Store:
        """A handle whose reads are all of one release."""

    def directory(self) -> Views:
        """The views that there are."""

    def read(self, view: str, ids: Sequence[str]) -> Features:
        """One view of some ids."""

    def read_entities(
        self, views: Sequence[str], ids: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Features]:
        """Views of several entities."""

    def queues(
        self, names: Sequence[str], *, epoch: int, limit: Sequence[int], live: bool = True
    ) -> list[list[str]]:
        """The heads of some queues, as events have moved them or (not `live`) as the batch's."""

    def catalogue(self) -> Catalogue:
        """The epoch of the queues; topics and parents by falling clicks."""


@dataclass(frozen=True)
class Candidates:
    """Videos for the ranking model, each with its reason.

    Attributes:
        user_id: who for.
        reasons: of each candidate, in the order in which recall took them.
        epoch: of the topics in `reasons`.
        clicks: the user's recently clicked videos (N_1 at most), newest first.
        skips: the videos of the newest impressions that weren't clicked (N_1 at most).
        history_topics: feature view `video_topics` of `history`, without topics of another epoch.
        popular: empty, or why parents are popular ones instead of the user's own.
        left_out: clicks that count in no topic, by cause.
        at_us: when the request was made; ages and decays are taken to this time.
        seed: of the draw of fresh videos; with it the same queues give the same candidates.
    """

    user_id: str
    reasons: Mapping[str, Reason]
    epoch: int
    clicks: Sequence[str]
    skips: Sequence[str]
    history_topics: Features = field(repr=False)
    popular: str
    left_out: Mapping[str, int]
    at_us: int
    seed: int

    @property
    def video_ids(self) -> list[str]:
        """The candidates."""
        return list(self.reasons)

    @property
    def history(self) -> list[str]:
        """Clicks, and behind them skips."""
        return [*self.clicks, *self.skips]


class Recall:
    """Candidate generation from topic queues (III-B1).

    The user's topics are the N_2 that appear in most of the N_1 recent clicks; their queues give
    N_3 candidates in proportion, topped up from their parents and the whole catalogue
    (:func:`consumers.retrieval.choosing.choose`). Topic IDs of two epochs are never compared: a
    click with topics of another epoch than the queues' is left out and counted. A user without
    clicks, or whose clicks have no topics, gets the popular videos of each parent topic, and
    `popular` says why.

    A service makes one and keeps it; threads may share it. What is the same for every user, the
    popular videos with their topics, is read once a release: topics that Feast pushes for one of
    them tilt it from the next release on.
    """

    def __init__(self, client: Store, settings: RecallSettings) -> None:
        self.client = client
        self.settings = settings
        self._last_popular: tuple[Views, Popular] | None = None

    def recall(
        self, user_id: str, *, at_us: int | None = None, seed: int | None = None
    ) -> Candidates:
        """Candidates for a user: a read of the history, of its topics, and of each level's queues.

        Args:
            user_id: who for; unknown ones get what a new user gets.
            at_us: when the request is made; None: now.
            seed: of the draw of fresh videos; None: a new one.

        Raises:
            StoreError: nothing was materialised under the client's prefix, or the release that the
                topics came from is gone before its queues were read.
            redis.exceptions.RedisError: the server can't be reached.
        """
        return self.recall_from(self.client.snapshot(), user_id, at_us=at_us, seed=seed)

    def recall_from(
        self, release: Store, user_id: str, *, at_us: int | None = None, seed: int | None = None
    ) -> Candidates:
        """The same from a snapshot that goes on to read features of the same release."""
        seed = secrets.randbits(63) if seed is None else seed
        at_us = micros(datetime.now(UTC)) if at_us is None else at_us
        clicks, skips = self._history(release, user_id)
        topics = release.read(VIDEO_TOPICS.name, [*clicks, *skips])
        catalogue = release.catalogue()
        current = of_epoch(topics, catalogue.epoch)
        own, popular = taste_of(current, len(clicks)), ""
        if not len(own.topics.topic_ids):
            popular = NO_TOPICS if clicks else NEW_USER
        popularity = Popularity(catalogue.parents, catalogue.parent_clicks)

        def read(names: Sequence[str], limits: Sequence[int]) -> list[list[str]]:
            return release.queues(names, epoch=catalogue.epoch, limit=limits)

        seen = {*clicks, *skips} if self.settings.leave_out == "seen" else {*clicks}
        return Candidates(
            user_id=user_id,
            reasons=choose(
                read, own, popularity, seen, self.settings, seed, self._popular(release, catalogue)
            ),
            epoch=catalogue.epoch,
            clicks=clicks,
            skips=skips,
            history_topics=current,
            popular=popular,
            left_out=_uncounted(first_rows(topics, len(clicks)), catalogue.epoch),
            at_us=at_us,
            seed=seed,
        )

    def _popular(self, release: Store, catalogue: Catalogue) -> Popular | None:
        """The release's popular videos; None where none of them is asked for."""
        if not self.settings.popular_share:
            return None
        directory = release.directory()
        last = self._last_popular  # once: another thread may put another release's there
        if last is None or last[0] is not directory:
            last = self._last_popular = directory, self._read_popular(release, catalogue)
        return last[1]

    def _read_popular(self, release: Store, catalogue: Catalogue) -> Popular:
        """The head of the catalogue's queue with its topics."""
        limit = 2 * (self.settings.candidates + self.settings.recent_clicks)
        name = queue_name(CATALOGUE, 0)
        [ids] = release.queues([name], epoch=catalogue.epoch, limit=[limit], live=False)
        topics = of_epoch(release.read(VIDEO_TOPICS.name, ids), catalogue.epoch)
        clicks = np.zeros(len(ids))
        clicks[: len(catalogue.popular_clicks)] = catalogue.popular_clicks[: len(ids)]
        slots = (cast("NDArray[np.int64]", topics[n]) for n in ("topic_ids", "parent_topic_ids"))
        return Popular.of(ids, clicks, *slots)

    def _history(self, release: Store, user_id: str) -> tuple[list[str], list[str]]:
        """Recent clicks and skips; a view is not there while no user has any."""
        existing = release.directory().views
        views = [view for view, _ in (CLICKED, SKIPPED) if view in existing]
        rows = release.read_entities(views, {"user": [user_id]}) if views else {}
        lists = [
            cast("list[str] | None", rows[view][name][0]) if view in rows else None
            for view, name in (CLICKED, SKIPPED)
        ]
        clicks, skips = (list(videos or ())[: self.settings.recent_clicks] for videos in lists)
        return clicks, skips


def taste_of(topics: Features, clicks: int) -> Taste:
    """Topics and parents of the first rows, clicked videos, by falling number of clicks."""
    slots = (topics["topic_ids"], topics["parent_topic_ids"])
    own = [cast("NDArray[np.int64]", ids[:clicks]) for ids in slots]
    return Taste(count_topics(own[0]), count_topics(own[1]), int((own[0] >= 0).any(1).sum()))


def _uncounted(topics: Features, epoch: int) -> dict[str, int]:
    """Clicks that count in no topic of the epoch, by cause."""
    without = int((of_epoch(topics, epoch).present & np.equal(topics["topic_count"], 0)).sum())
    return left_out(topics, epoch) | ({NO_TOPIC: without} if without else {})
