"""Requests replayed from the tables of their release, and four faults that must show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from recall_world import SETTINGS, START_US, make_home, put, queue_rows, replace_rows

from consumers.parity.release_store import ReleaseStore
from consumers.parity.requests import Logged, differences, replay
from consumers.recommendation import answer
from consumers.retrieval import Recall
from vidtopics.contracts import TOPIC_QUEUES, USER_RECENT_CLICKS, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.online import Status

NOW = START_US + 500 * 3_600_000_000
MINUTE = 60_000_000
USERS = ["u00", "u01", "u44", "nobody"]
RECALL = SETTINGS.recall.model_copy(update={"parent_prior": 1.0})
HOME = SETTINGS.model_copy(update={"recall": RECALL})
DECAYED = {
    "video_decayed_exposures": 2.5,
    "video_decayed_clicks": 0.5,
    "video_decayed_at": START_US,
}


class Linear:
    """Scores by topic, exposures and the hours of the request's time; `weight` is the model."""

    def __init__(self, weight=1.0):
        self.weight = weight

    def score(self, candidates, features):
        topics = np.asarray(features["video_topics"]["topic_ids"])[:, 0]
        exposures = np.asarray(features["video_statistics"]["video_exposures"])
        hours = candidates.at_us / 3.6e9 % 24
        return (self.weight * topics / 100 + exposures / 1_000 + hours / 10).astype(np.float32)


class Swapped(ReleaseStore):
    """Each video has another's statistics."""

    def read(self, view, ids):
        rows = super().read(view, ids)
        if view != VIDEO_STATISTICS.name:
            return rows
        return replace(rows, columns={n: np.roll(v, 1) for n, v in rows.columns.items()})


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two releases of one home: the second has other queues."""
    tables = make_home(tmp_path_factory.mktemp("home"))
    ids = [f"v{i:02d}" for i in range(90)]
    counts = [
        {"video_id": v, "video_exposures": 3 + i % 40, "video_clicks": i % 3} | DECAYED
        for i, v in enumerate(ids)
    ]
    put(tables, VIDEO_STATISTICS, counts, START_US)
    clicks = {"u00": ["v00", "v03"], "u01": ["v01"]}
    rows = [
        {
            "user_id": user,
            "recent_video_ids": videos,
            "recent_times": [START_US] * len(videos),
            "recent_watch_seconds": [-1.0] * len(videos),
        }
        for user, videos in clicks.items()
    ]
    put(tables, USER_RECENT_CLICKS, rows, START_US)
    views, versions = (VIDEO_TOPICS, VIDEO_STATISTICS, USER_RECENT_CLICKS), []
    for shift in (0, 5):
        replace_rows(tables, TOPIC_QUEUES, queue_rows(shift))
        versions.append({t.name: tables.delta(t).version() for t in (*views, TOPIC_QUEUES)})
    return [ReleaseStore(tables, numbers) for numbers in versions]


def served(store, ranker=None, at_us=NOW):
    """The log of some requests, answered a second after they were made."""
    requests = [
        answer(Recall(store, RECALL), ranker or Linear(), user, at_us=at_us, seed=n)
        for n, user in enumerate(USERS)
    ]
    return [Logged.of(request, NOW + 1_000_000) for request in requests]


def test_a_replay_gives_the_same_candidates_features_and_scores(stores):
    logged = served(stores[1])
    assert all(len(request.candidates) == 12 for request in logged)
    assert len({tuple(request.candidates) for request in logged}) == 3  # two users have no clicks
    again = [Logged(**request.to_json()) for request in logged]
    assert replay(again, lambda at: stores[1], Linear(), HOME) == {}


def test_a_stale_release_shows(stores):
    report = replay(served(stores[0]), lambda at: stores[1], Linear(), HOME)
    assert set(report) == set(range(len(USERS)))
    assert all("candidates" in lines[0] for lines in report.values())


def test_another_model_shows(stores):
    logged = served(stores[1], Linear(1.001))
    report = replay(logged, lambda at: stores[1], Linear(), HOME)
    assert all(lines[0].startswith("scores: up to 0.000") for lines in report.values())
    assert len(report) == len(USERS)


def test_a_swapped_view_shows(stores):
    swapped = Swapped(stores[1].tables, stores[1].versions)
    report = replay(served(swapped), lambda at: stores[1], Linear(), HOME)
    assert all(lines[0] == "features: video_statistics" for lines in report.values())
    assert len(report) == len(USERS)


@pytest.mark.parametrize(("minutes", "alarms"), [(0.5, False), (-2, True), (60, True)])
def test_a_shifted_clock_shows(stores, minutes, alarms):
    logged = served(stores[1], at_us=NOW + int(minutes * MINUTE))
    lines = differences(logged[0], stores[1], Linear(), HOME)
    assert [line.split(":")[0] for line in lines] == (["clock"] if alarms else [])


def test_a_release_reads_as_the_online_client_does(stores):
    rows = stores[1].read("video_statistics", ["v07", "unknown"])
    assert rows.status.tolist() == [Status.PRESENT, Status.NOT_FOUND]
    assert (rows["video_exposures"].tolist(), rows["video_clicks"].tolist()) == ([10, 0], [1, 0])
    topics = stores[1].read("video_topics", ["v01"])
    assert topics["topic_ids"].tolist() == [[20, *[-1] * 7]]
    assert topics["topic_weights"].dtype == np.float32
    catalogue = stores[1].catalogue()
    assert (catalogue.epoch, set(catalogue.parents)) == (1, {1, 2, 3})
    assert stores[1].queues(["10", "p9", "all"], epoch=1, limit=[2, 2, 3])[1] == []
    assert stores[1].queues(["10"], epoch=2, limit=2) == [[]]
    assert isinstance(stores[1]._queue_rows, pa.Table)
