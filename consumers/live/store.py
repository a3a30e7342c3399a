"""The reads of a release with events folded in: what recall, features and ranking go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from consumers.live.folding import LISTS, USER_VIEWS, EventVideos, Folding, event_videos
from consumers.live.part import LivePart
from consumers.live.rules import LiveRules
from consumers.live.videos import with_counts
from consumers.retrieval.recall import Store, Views
from vidtopics.contracts import VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.errors import InputError, explain
from vidtopics.online import Catalogue, Features
from vidtopics.online.live_reads import LiveRead
from vidtopics.rates import Prior

COUNTED = VIDEO_STATISTICS.name


class LiveSource(Store, Protocol):
    """What live reads come from: an online client, or a release with what was logged."""

    def snapshot(self) -> LiveSource:
        """A handle whose reads are all of one release."""

    def has_live_queues(self) -> bool:
        """Whether events have moved the queues of the release."""

    def read_live(
        self,
        parts: Sequence[tuple[str, Sequence[str]]],
        *,
        user_id: str | None = None,
        video_ids: Sequence[str] = (),
    ) -> LiveRead:
        """As :meth:`vidtopics.online.OnlineClient.read_live`."""


class LiveStore:
    """A store for one request, whose rows of a user and of videos have the events since.

    The user's state comes with the first read of the user's lists, and both stay: a request sees
    one state. All else that is live comes with the rows that it is added to, so a request takes as
    many round trips as without. Where nobody applies events, or where the release's queues don't
    say the click rate of all videos, as an earlier version loaded them, rows and queues are the
    release's and :attr:`part` is None.

    Args:
        store: what all is read from, a snapshot of one release.
        rules: how events count.
    """

    def __init__(self, store: LiveSource, rules: LiveRules) -> None:
        self._store = store
        self._rules = rules
        self._user_id: str | None = None
        self._part: LivePart | None = None
        self._counts: dict[str, tuple[int, int]] = {}
        self._lists: dict[str, Features] = {}
        self._queues: dict[str, list[str]] = {}

    @property
    def part(self) -> LivePart | None:
        """What this request saw beside the release; None: nothing is live."""
        if self._part is None or not self._part.since_us:
            return None
        return replace(self._part, counts=self._counts, queues=self._queues)

    def snapshot(self) -> LiveStore:
        """A store for another request, of one release."""
        return LiveStore(self._store.snapshot(), self._rules)

    def directory(self) -> Views:
        """As the store's."""
        return self._store.directory()

    def queues(
        self, names: Sequence[str], *, epoch: int, limit: Sequence[int], live: bool = True
    ) -> list[list[str]]:
        """As the store's; what events have moved is kept, as it stands nowhere else."""
        live = live and (self._part is None or bool(self._part.since_us))
        lists = self._store.queues(names, epoch=epoch, limit=limit, live=live)
        if live and self._store.has_live_queues():
            for name, videos in zip(names, lists, strict=True):
                if len(videos) > len(self._queues.get(name, ())):
                    self._queues[name] = videos
        return lists

    def catalogue(self) -> Catalogue:
        """As the store's."""
        return self._store.catalogue()

    def read(self, view: str, ids: Sequence[str]) -> Features:
        """As the store's, with events where the view has any."""
        return self.read_entities([view], {"user" if view in USER_VIEWS else "video": ids})[view]

    def read_entities(
        self, views: Sequence[str], ids: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Features]:
        """As the store's, with events where a view has any.

        Raises:
            InputError: the user's views are asked for another user than before, or for several.
        """
        if not {COUNTED, *USER_VIEWS}.isdisjoint(views):
            if not {*USER_VIEWS}.isdisjoint(views) and self._is_first(ids["user"]):
                if {*views} <= LISTS.keys():
                    self._lists = self._read(views, ids, user_id=self._user_id)
                    return self._lists
                self._read([], {}, user_id=self._user_id)
            if self._part is None or self._part.since_us:
                unread = [view for view in views if view not in self._lists]
                rows = self._lists | self._read(unread, ids)
                return {view: rows[view] for view in views}
        return self._store.read_entities(views, ids)

    def _is_first(self, users: Sequence[str]) -> bool:
        """Whether the user's state wasn't read yet; InputError where it is another user's."""
        is_first = self._user_id is None
        if is_first and len(users) == 1:
            self._user_id = users[0]
        if [*users] != [self._user_id]:
            raise InputError(
                explain(
                    "a live read",
                    expected="one user a request"
                    if self._user_id is None
                    else f"the request's user, {self._user_id!r}",
                    found=", ".join(map(repr, users)) or "none",
                    mend="take a snapshot for each user",
                )
            )
        return is_first

    def _read(
        self,
        views: Sequence[str],
        ids: Mapping[str, Sequence[str]],
        *,
        user_id: str | None = None,
    ) -> dict[str, Features]:
        """Views, what events did, and what folding it needs, in one round trip."""
        rows_of = {view: ids["user" if view in USER_VIEWS else "video"] for view in views}
        named = event_videos(self._part, views)
        more = {VIDEO_TOPICS.name: named, COUNTED: named} if named else {}
        videos = rows_of.get(COUNTED, [])
        parts = [*rows_of.items(), *more.items()]
        read = self._store.read_live(parts, user_id=user_id, video_ids=videos)
        catalogue = self._store.catalogue()
        rows = dict(zip(rows_of, read.features, strict=False))
        if catalogue.global_ctr is None:
            self._part = LivePart({}, {})
            return rows
        part = self._part = self._with(read)
        self._count(read, videos)
        if COUNTED in rows and (since_us := part.view_since_us(COUNTED)) is not None:
            rows[COUNTED] = with_counts(rows[COUNTED], read.counts, since_us)
        prior = Prior(catalogue.global_ctr, self._rules.prior_exposures)
        of_events = EventVideos(named, *read.features[len(rows_of) :]) if named else None
        return Folding(part, self._rules, catalogue.epoch, prior, of_events).folded(rows)

    def _with(self, read: LiveRead) -> LivePart:
        """The generations and states of the reads before, and those of this one."""
        earlier = self._part or LivePart({}, {})
        pairs = ((read.releases, earlier.releases), (read.since_us, earlier.since_us))
        if not read.states and all(new.items() <= old.items() for new, old in pairs):
            return earlier  # with the events that it has made of its states
        return LivePart(
            {**earlier.releases, **read.releases},
            {**earlier.since_us, **read.since_us},
            {**earlier.states, **read.states},
        )

    def _count(self, read: LiveRead, videos: Sequence[str]) -> None:
        places = np.flatnonzero(read.counts.any(axis=1)).tolist()
        for place, (exposures, clicks) in zip(places, read.counts[places].tolist(), strict=True):
            self._counts[videos[place]] = exposures, clicks
