"""Figures of topics and queues by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_worlds import World, queue_entry, topic, video_topics

from vidtopics.contracts import TOPIC_QUEUES, TOPICS, VIDEO_TOPICS
from vidtopics.gates.drift import stability_index


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Topics 1 to 4, of which 4 is empty; videos a: 1; b: 1, 2; c: 1, 2, 3; d: none."""
    world = World(tmp_path)
    world.put(TOPICS, [topic(i) for i in (1, 2, 3, 4)])
    rows = [
        video_topics(v, list(range(1, n + 1))) for v, n in zip("abcd", (1, 2, 3, 0), strict=True)
    ]
    world.put(VIDEO_TOPICS, [{**row, "below_threshold": row["video_id"] == "a"} for row in rows])
    return world


def test_how_topics_are_filled(world: World) -> None:
    """Sizes 3, 2, 1, 0: Gini (-3 * 0 - 1 * 1 + 1 * 2 + 3 * 3) / (4 * 6) = 10 / 24."""
    verdicts = world.judge(None)
    figures = {
        name: verdicts[f"video_topics.{name}"].figure
        for name in (
            "topics_per_video",
            "below_threshold_share",
            "occupancy",
            "gini",
            "largest_share",
        )
    }
    assert figures == {
        "topics_per_video": 1.5,
        "below_threshold_share": 0.25,
        "occupancy": 0.75,
        "gini": pytest.approx(10 / 24),
        "largest_share": 0.75,
    }
    assert verdicts["video_topics.largest_share"].examples == (
        "topic 1: 3 videos",
        "topic 2: 2 videos",
        "topic 3: 1 videos",
    )
    assert verdicts["video_topics.occupancy"].examples == ("topic 4",)


def test_topics_drift_over_the_union_of_their_ids(world: World) -> None:
    before = dict(world.versions)
    world.put(VIDEO_TOPICS, [video_topics("c", [4]), video_topics("d", [4])])
    verdict = world.judge(before)["video_topics.topic_ids.psi"]
    assert verdict.figure == pytest.approx(stability_index([3, 2, 1, 0], [2, 1, 0, 2]))


def test_topics_of_another_epoch_have_no_drift(world: World) -> None:
    before = dict(world.versions)
    world.put(VIDEO_TOPICS, [video_topics(v, [9], topic_epoch=2) for v in "abcd"])
    verdict = world.judge(before)["video_topics.topic_ids.psi"]
    assert verdict.text == "not applied: topic IDs of epochs 1 and 2 differ"


def test_topics_without_a_queue_and_the_mean_of_the_others(world: World) -> None:
    world.put(TOPIC_QUEUES, [queue_entry(1, "a"), queue_entry(1, "b", 2), queue_entry(2, "b")])
    verdicts = world.judge(None)
    assert verdicts["topic_queues.no_queue_share"].figure == 0.5
    assert verdicts["topic_queues.mean_queue"].figure == 1.5


def test_without_any_row_nothing_is_measured_and_nothing_passes_unseen(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(TOPICS, [])
    world.put(VIDEO_TOPICS, [])
    verdicts = world.judge(None)
    assert verdicts["video_topics.rows"].verdict == "block"
    others = [v for v in verdicts.values() if not v.name.endswith(".rows")]
    assert {v.verdict for v in others if v.name.startswith("video_topics")} <= {
        "not applied",
        "ok",
    }
    assert verdicts["video_topics.gini"].text == "not applied: nothing to measure"
