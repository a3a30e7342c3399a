"""The gate before Redis: a release that somebody wrote past the gates of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import redis
from online_home import KEEP, OnlineHome

from benchmarks.homes import release_tables
from vidtopics.contracts import RELEASES
from vidtopics.materialization import IncompleteError
from vidtopics.online import OnlineClient
from vidtopics.settings import GateSettings
from vidtopics.tables.releases import append, last_run, read_log

VIDEOS = [f"v{i:02d}" for i in range(40)]


def exposures(store: redis.Redis) -> list[int]:
    return OnlineClient(store).read("video_statistics", VIDEOS)["video_exposures"].tolist()


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis) -> OnlineHome:
    """Two views of 40 videos in Redis; then both change, and one loses 20 videos."""
    home = OnlineHome(tmp_path)
    home.statistics(*((video, 1, 1, 5) for video in VIDEOS))
    home.joint(*((video, 1, 1, 2) for video in VIDEOS))
    home.release()
    home.run(store, KEEP, gates=GateSettings())
    home.statistics(*((video, 2, 2, None) for video in VIDEOS[:20]))
    home.joint(*((video, 2, 2, 3) for video in VIDEOS))
    home.release()
    return home


def test_a_view_that_would_lose_half_stays_and_the_others_are_brought(
    home: OnlineHome, store: redis.Redis
) -> None:
    with pytest.raises(IncompleteError, match=r"video_statistics\.ended_share of at most 0\.3"):
        home.run(store, KEEP, gates=GateSettings())
    assert exposures(store) == [5] * 40
    joint = OnlineClient(store).read("video_joint_representation", VIDEOS)
    assert joint["joint_embedding"][:, 0].tolist() == [3.0] * 40


def test_what_a_release_let_pass_by_name_is_loaded(home: OnlineHome, store: redis.Redis) -> None:
    log = read_log(home.tables)
    allowed = {"video_statistics.ended_share": "allowed: half were spam"}
    row = replace(log[-1], release_id=3, verdicts=allowed)
    append(home.tables, [row], run=last_run(home.tables.commits(RELEASES)))
    home.run(store, KEEP, gates=GateSettings())
    assert exposures(store) == [0] * 20 + [5] * 20


def test_without_limits_any_release_is_loaded(home: OnlineHome, store: redis.Redis) -> None:
    assert release_tables(home.tables) is None
    home.run(store, KEEP)
    assert exposures(store) == [0] * 20 + [5] * 20
