"""A store in memory with the online client's methods; it counts its round trips."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from vidtopics.online import Catalogue, Features, Status
from vidtopics.online.live_reads import LiveRead

VIEWS = ("video_topics", "video_statistics", "user_recent_clicks", "user_recent_skips")


@dataclass
class FakeClient:
    """`topics`: of each video its topic ids and epoch, or the status of a row that holds none.

    The parent of topic t is t // 10; `lists` are queues by their names, `parents` by clicks.
    """

    topics: dict[str, tuple[list[int], int] | Status] = field(default_factory=dict)
    statistics: dict[str, float] = field(default_factory=dict)
    clicks: dict[str, list[str]] = field(default_factory=dict)
    skips: dict[str, list[str]] = field(default_factory=dict)
    views: tuple[str, ...] = VIEWS
    lists: dict[int | str, list[str]] = field(default_factory=dict)
    epoch: int = 1
    parents: list[int] = field(default_factory=list)
    trips: list[str] = field(default_factory=list)

    def snapshot(self):
        return self

    def directory(self):
        return self

    def read_entities(self, views, ids):
        self.trips.append("+".join(views))
        entity = {view: "user" if view.startswith("user") else "video" for view in views}
        return {view: self._rows(view, ids[entity[view]]) for view in views}

    def has_live_queues(self):
        return False

    def read_live(self, parts, *, user_id=None, video_ids=()):
        """Nobody applies events."""
        self.trips.append("+".join(view for view, _ in parts))
        counts = np.zeros((len(video_ids), 2), np.int64)
        return LiveRead([self._rows(view, ids) for view, ids in parts], {}, {}, {}, counts)

    def queues(self, names, *, epoch, limit, live=True):
        self.trips.append("queues")
        lists = {str(name): videos for name, videos in self.lists.items()}
        pairs = zip(names, limit, strict=True)
        return [lists.get(n, [])[:end] if epoch == self.epoch else [] for n, end in pairs]

    def catalogue(self):
        clicks = tuple(100.0 / (place + 1) for place in range(len(self.lists.get("all", ()))))
        return Catalogue(self.epoch, (), tuple(self.parents), (10.0,) * len(self.parents), clicks)

    def read(self, view, ids):
        return self.read_entities([view], {"video": ids})[view]

    def _rows(self, view, ids):
        readers = {
            "video_topics": self._video_topics,
            "video_statistics": self._video_statistics,
            "user_recent_clicks": partial(_lists, self.clicks, "recent_video_ids"),
            "user_recent_skips": partial(_lists, self.skips, "skipped_video_ids"),
        }
        return readers[view](ids)

    def _video_topics(self, ids):
        rows = [self.topics.get(v, Status.NOT_FOUND) for v in ids]
        held = [row if isinstance(row, tuple) else ([], 0) for row in rows]
        status = [Status.PRESENT if isinstance(row, tuple) else row for row in rows]
        slots = [topics + [-1] * (8 - len(topics)) for topics, _ in held]
        weights = [[0.9] * len(topics) + [0.0] * (8 - len(topics)) for topics, _ in held]
        columns = {
            "topic_ids": np.array(slots, np.int64).reshape(-1, 8),
            "topic_weights": np.array(weights, np.float32).reshape(-1, 8),
            "parent_topic_ids": np.array(slots, np.int64).reshape(-1, 8) // 10,
            "topic_count": np.array([len(topics) for topics, _ in held], np.int64),
            "below_threshold": np.zeros(len(ids), bool),
            "topic_epoch": np.array([epoch for _, epoch in held], np.int64),
        }
        return features(status, columns)

    def _video_statistics(self, ids):
        status = [Status.PRESENT if v in self.statistics else Status.NOT_FOUND for v in ids]
        return features(
            status, {"video_clicks": np.array([self.statistics.get(v, 0) for v in ids])}
        )


def _lists(lists, name, ids):
    status = [Status.PRESENT if user in lists else Status.NOT_FOUND for user in ids]
    values = np.empty(len(ids), object)
    values[:] = [lists.get(user) for user in ids]
    return features(status, {name: values})


def features(status, columns):
    statuses = np.array(status, np.uint8)
    times = np.where(statuses == Status.PRESENT, 5, 0)
    return Features(
        statuses, times, times, columns, dict.fromkeys(columns, statuses != Status.PRESENT)
    )
