"""A small platform with a log, random topics, and a store of plain dicts as it would be online."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from consumers.policies.catalog import Catalog
from producers.queues.rules import queues
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.evaluate.recall import _lists
from vidtopics.jobs.queue_videos import queue_videos
from vidtopics.online import Catalogue, Features, Status
from vidtopics.settings import SimulationSettings
from vidtopics.simulation import World
from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.items import DAY, start_of
from vidtopics.simulation.loop import run_days
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.responses import new_state
from vidtopics.simulation.slates import LoggedPolicy
from vidtopics.tables.schemas import arrow_schema

EPOCH = 3


def world_of(users=40, videos=120, days=3, seed=7):
    return World.build(SimulationSettings(users=users, videos=videos, days=days), seed=seed)


def platform_of(world, settings=None):
    """As of the midnight after the world's log, and some hours of the next day."""
    state, days = new_state(world.users, start_of(world.settings)), world.settings.days
    platform, arms = Platform.new(world, settings), [LoggedPolicy(world)]
    everybody = np.zeros(len(world.users.bias), np.int8)
    for _ in run_days(world, state, platform, arms, everybody, range(days)):
        pass
    platform.open_day(start_of(world.settings) + days * DAY)
    return platform


def topics_row(topics, epoch=EPOCH, per_parent=3):
    pad = 8 - len(topics)
    return {
        "topic_ids": [*topics, *[-1] * pad],
        "topic_weights": [*(0.9 - 0.1 * i for i in range(len(topics))), *[0.0] * pad],
        "parent_topic_ids": [*(100 + t // per_parent for t in topics), *[-1] * pad],
        "topic_count": len(topics),
        "below_threshold": False,
        "topic_epoch": epoch,
    }


def catalog_of(world, seed=0, topics=9):
    """Each video with up to three of the topics 10, 11, ..., some with none or of another epoch."""
    rng, rows = np.random.default_rng(seed), []
    for _ in world.items.topic:
        drawn = (10 + rng.permutation(topics)[: rng.integers(1, 4)]).tolist()
        rows.append(topics_row(drawn, EPOCH if rng.random() < 0.9 else EPOCH - 1))
        if rng.random() < 0.1:
            rows[-1] = dict.fromkeys(rows[-1])
    ids = numbered("v", np.arange(len(rows)), len(rows))
    table = pa.Table.from_pylist(rows, arrow_schema(VIDEO_TOPICS, VIDEO_TOPICS.values))
    embeddings = rng.normal(size=(len(rows), 6)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Catalog.of(ids, table, EPOCH, embeddings)


@dataclass
class PlainStore:
    """What an online store would have of a platform: lists of ids, read by plain loops."""

    platform: Platform
    catalog: Catalog
    settings: object

    def __post_init__(self):
        known = self.platform.known
        videos, live = self.catalog.ids.to_pylist(), self.platform.live.tolist()
        published = pa.array(self.platform.published_us[live], pa.timestamp("us", "UTC"))
        shown = [v for v in range(len(videos)) if known.exposures[v]]
        statistics = {
            "video_id": [videos[v] for v in shown],
            "video_exposures": known.exposures[shown],
            "video_clicks": known.clicks[shown],
            "video_decayed_clicks": known.decayed_clicks[shown],
            "video_decayed_at": known.decayed_at[shown],
        }
        self.rows = dict(zip(videos, self.catalog.topics.to_pylist(), strict=True))
        topics = [{"video_id": v} | row for v, row in self.rows.items() if row["topic_epoch"]]
        rated, _ = queue_videos(
            pa.table({"video_id": [videos[v] for v in live], "published_at": published}),
            pa.Table.from_pylist(topics),
            pa.table(statistics),
            self.settings.queues,
            self.settings.statistics,
            as_of_us=self.platform.midnight_us,
        )
        made = queues(rated, self.settings.queues, self.settings.seed)
        self.lists, self.popularity, self.clicks = _lists(made)
        self.views = ("user_recent_clicks", "user_recent_skips", "video_topics")

    def snapshot(self):
        return self

    def directory(self):
        return self

    def catalogue(self):
        parents, clicks = self.popularity
        return Catalogue(EPOCH, (), tuple(parents), tuple(clicks), tuple(self.clicks.tolist()))

    def queues(self, names, *, epoch, limit, live=True):
        pairs = zip(names, limit, strict=True)
        return [self.lists.get(name, [])[:end] for name, end in pairs]

    def ring(self, user):
        """(video id, clicked, at), newest first."""
        users, names = self.platform.users, self.catalog.ids.to_pylist()
        for back in range(1, min(128, int(users.shown[user])) + 1):
            place = (int(users.shown[user]) - back) % 128
            video = names[users.video[user, place]]
            yield video, bool(users.clicked[user, place]), int(users.at[user, place])

    def recent(self, user):
        """Recent clicks, each video once, and skips, with their times."""
        clicks, skips = {}, []
        for video, clicked, at in self.ring(user):
            if clicked:
                clicks.setdefault(video, at)
            else:
                skips.append((video, at))
        return list(clicks.items()), skips

    def statistics_of(self, user):
        """The row of `user_statistics`."""
        rows = self.platform.users
        names = ("exposures", "clicks", "expected_clicks")
        counts = (rows.shown[user], rows.clicks[user], rows.expected_clicks[user])
        recent = (f"user_decayed_{name}" for name in ("exposures", "clicks", "expected"))
        return {
            **{f"user_{name}": count for name, count in zip(names, counts, strict=True)},
            **dict(zip(recent, rows.decayed[user].tolist(), strict=True)),
            "user_decayed_at": rows.decayed_at[user],
        }

    def topics_of(self, user):
        """The row of `user_topics`, by the job's rule over the remembered impressions."""
        rows, sums, now = self.platform.users, {}, None
        for back, (video, clicked, at) in enumerate(self.ring(user), 1):
            now, row = now or at, self.rows[video]
            if not row["topic_epoch"]:
                continue
            used = [
                max(w, 0)
                for t, w in zip(row["topic_ids"], row["topic_weights"], strict=True)
                if t >= 0
            ]
            p = float(rows.expected[user, (int(rows.shown[user]) - back) % 128])
            for topic, parent, weight in zip(
                row["topic_ids"], row["parent_topic_ids"], used, strict=False
            ):
                share = weight / sum(used)
                for key in (("topic", topic), ("parent", parent)):
                    total = sums.setdefault(key, np.zeros(4))
                    decay = 0.5 ** ((now - at) / DAY / 7)
                    total += [share, share * clicked, share * p, share * decay]
        columns = {"user_topic_epoch": EPOCH}
        for kind, limit in (("topic", 64), ("parent", 16)):
            of_kind = {i: total for (k, i), total in sums.items() if k == kind}
            ids = sorted(of_kind, key=lambda i: (-of_kind[i][3], i))[:limit]
            columns[f"user_{kind}_ids"] = np.array(ids, np.int64)
            for place, name in enumerate(("exposures", "clicks", "expected")):
                values = [of_kind[i][place] for i in ids]
                columns[f"user_{kind}_{name}"] = np.array(values, np.float32)
        return columns

    def features_of(self, user, ids):
        """The views of `ranking_v2` for a request."""
        known, names = self.platform.known, self.catalog.ids.to_pylist()
        at = [names.index(video) for video in ids]
        counts = {"video_exposures": known.exposures[at], "video_clicks": known.clicks[at]}
        return {
            "video_topics": self.read("video_topics", ids),
            "video_statistics": features(np.ones(len(ids), bool), counts),
            "user_statistics": one_row(self.statistics_of(user)),
            "user_topics": one_row(self.topics_of(user)),
            **self.read_entities(
                ["user_recent_clicks", "user_recent_skips"], {"user": [f"u{user}"]}
            ),
        }

    def read_entities(self, views, ids):
        [user] = ids["user"]
        clicks, skips = self.recent(int(user[1:]))
        columns = {
            "user_recent_clicks": {
                "recent_video_ids": [v for v, _ in clicks],
                "recent_times": np.array([t for _, t in clicks], np.int64),
                "recent_watch_seconds": np.full(len(clicks), -1, np.float32),
            },
            "user_recent_skips": {
                "skipped_video_ids": [v for v, _ in skips],
                "skipped_times": np.array([t for _, t in skips], np.int64),
                "skipped_positions": np.full(len(skips), -1),
            },
        }
        return {view: one_row(columns[view]) for view in views}

    def read(self, view, ids):
        rows = [self.rows[video] for video in ids]
        present = np.array([row["topic_epoch"] is not None for row in rows], bool)
        blank = topics_row([], 0)
        filled = [row if row["topic_epoch"] is not None else blank for row in rows]
        columns = {
            name: np.array([row[name] for row in filled]).reshape(len(rows), *shape)
            for name, shape in (
                ("topic_ids", (8,)),
                ("topic_weights", (8,)),
                ("parent_topic_ids", (8,)),
                ("topic_count", ()),
                ("below_threshold", ()),
                ("topic_epoch", ()),
            )
        }
        return features(present, columns)


def one_row(columns):
    arrays = {}
    for name, value in columns.items():
        if isinstance(value, list) or getattr(value, "ndim", 0):
            arrays[name] = np.empty(1, object)
            arrays[name][0] = value
        else:
            arrays[name] = np.array([value])
    return features(np.ones(1, bool), arrays)


def features(present, columns):
    status = np.where(present, Status.PRESENT, Status.NOT_FOUND).astype(np.uint8)
    zero = np.zeros(len(present), np.int64)
    return Features(status, zero, zero, columns, dict.fromkeys(columns, ~present))
