"""A user's rows with the events that a request saw of the user: each view by its own rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consumers.live.events import UserEvents
from consumers.live.part import NOTHING, LivePart
from consumers.live.rows import taken
from consumers.live.rules import LiveRules
from consumers.live.topics import LiveTopics
from consumers.live.users import Floats, with_clicks, with_skips, with_statistics
from consumers.live.videos import rates
from vidtopics.contracts import (
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    USER_STATISTICS,
    USER_TOPICS,
)
from vidtopics.online import Features, Status
from vidtopics.rates import Prior

LISTS: Mapping[str, Callable[..., Features]] = {
    USER_RECENT_CLICKS.name: with_clicks,
    USER_RECENT_SKIPS.name: with_skips,
}
OF_EVENTS = (USER_STATISTICS.name, USER_TOPICS.name)
"""Views whose rows need the topics and rates of the videos that the user's events name."""
USER_VIEWS = (*LISTS, *OF_EVENTS)


def event_videos(part: LivePart | None, views: Sequence[str]) -> list[str]:
    """The videos whose topics and rates rows of these views need, each once."""
    if part is None:
        return []
    asked = [view for view in OF_EVENTS if view in views and part.is_open(view)]
    videos = (video for view in asked for video in part.events(view).videos)
    return list(dict.fromkeys(videos))


@dataclass(frozen=True, eq=False)
class EventVideos:
    """The videos that a user's events name, as the release has them.

    Attributes:
        ids: V of them.
        topics: `video_topics`.
        statistics: `video_statistics`.
    """

    ids: Sequence[str]
    topics: Features
    statistics: Features

    def expected(self, events: UserEvents, prior: Prior) -> Floats:
        """float64[E], of each impression its video's smoothed rate as of the release."""
        rate = dict(zip(self.ids, rates(self.statistics, prior).tolist(), strict=True))
        return np.array([rate[video] for video in events.shown], np.float64)

    def topics_of(self, events: UserEvents) -> Features:
        """`video_topics` of the events' own videos."""
        place = {video: i for i, video in enumerate(self.ids)}
        return taken(self.topics, np.array([place[v] for v in events.videos], np.intp))


@dataclass(frozen=True, eq=False)
class Folding:
    """One user's events on the release's rows.

    Attributes:
        part: what was read of the user.
        rules: of the home.
        epoch: of the topics.
        prior: of the release's click rates.
        videos: that the events name; None: they name none, or no view was asked for that needs
            them.
    """

    part: LivePart
    rules: LiveRules
    epoch: int
    prior: Prior
    videos: EventVideos | None

    def folded(self, rows: Mapping[str, Features]) -> dict[str, Features]:
        """The rows by view, those of the user with events; others as they are."""
        result = dict(rows)
        for view in rows:
            if view in USER_VIEWS and self.part.is_open(view) and _is_readable(rows[view]):
                result[view] = self._row(view, rows)
        return result

    def _row(self, view: str, rows: Mapping[str, Features]) -> Features:
        state, since_us = self.part.state(view), self.part.since_us[self.part.releases[view]]
        if state == NOTHING:
            return rows[view]
        if view in LISTS:
            return LISTS[view](rows[view], state, since_us)
        events = self.part.events(view)
        expected = self.videos.expected(events, self.prior) if self.videos else np.zeros(0)
        if view == USER_STATISTICS.name:
            return with_statistics(
                rows[view],
                state,
                events,
                expected,
                lost_rate=self.prior.global_ctr,
                since_us=since_us,
                half_life_us=self.rules.half_life_us,
            )
        if self.videos is None:
            return rows[view]
        statistics = rows.get(USER_STATISTICS.name)
        topics = self.videos.topics_of(events)
        live = LiveTopics(events, expected, topics, statistics, self.rules, since_us)
        return live.added_to(rows[view], self.epoch)


def _is_readable(rows: Features) -> bool:
    return bool(rows.status[0] != Status.UNREADABLE)
