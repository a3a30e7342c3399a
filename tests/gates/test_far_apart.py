"""Growth and drift are evidence between consecutive runs alone (`gates.compare_within`)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from gate_worlds import NOW, World, statistics, video_topics

from vidtopics.contracts import VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.settings import GateSettings, Limits

DAY_US = 86_400_000_000
BLOCKED = {
    "video_topics.topic_ids.psi",
    "video_topics.topic_count.psi",
    "video_topics.changed_share",
    "video_statistics.appeared_share",
    "video_statistics.changed_share",
}
SETTINGS = GateSettings(
    least_keys=1,
    changed_share=Limits(warn=0.5, block=0.9),
    largest_share=Limits(warn=None, block=None),
)


@pytest.fixture
def grown(tmp_path: Path) -> tuple[World, dict[str, int]]:
    """Every topic is another one, every count too, and there are twelve times the statistics."""
    world = World(tmp_path)
    videos = [f"v{i}" for i in range(40)]
    world.put(VIDEO_TOPICS, [video_topics(v, [1]) for v in videos])
    world.put(VIDEO_STATISTICS, [statistics(v, 1) for v in videos])
    before = dict(world.versions)
    world.put(VIDEO_TOPICS, [video_topics(v, [2, 3]) for v in videos])
    world.put(VIDEO_STATISTICS, [statistics(f"v{i}", 2) for i in range(480)])
    return world, before


@pytest.mark.parametrize("last", [NOW - 7 * DAY_US, NOW, NOW + 900 * DAY_US])
def test_consecutive_runs_and_backfills_are_compared(
    grown: tuple[World, dict[str, int]], last: int
) -> None:
    world, before = grown
    verdicts = world.judge(before, SETTINGS, last)
    assert {name for name, v in verdicts.items() if v.verdict == "block"} == BLOCKED


@pytest.mark.parametrize(
    ("last", "text"),
    [
        (NOW - 1634 * DAY_US, "the last release is 1,634 days older"),
        (NOW - 7 * DAY_US - 1, "the last release is 7 days older"),
    ],
)
def test_runs_far_apart_are_measured_and_not_judged(
    grown: tuple[World, dict[str, int]], last: int, text: str
) -> None:
    world, before = grown
    consecutive, apart = world.judge(before, SETTINGS), world.judge(before, SETTINGS, last)
    assert {apart[name].text for name in BLOCKED} == {f"not applied: {text}"}
    assert [v.figure for v in apart.values()] == [v.figure for v in consecutive.values()]
    assert not [v for v in apart.values() if v.verdict == "block"]


def test_what_ends_is_judged_however_far_apart(grown: tuple[World, dict[str, int]]) -> None:
    world, before = grown
    world.put(VIDEO_TOPICS, [{"video_id": f"v{i}"} for i in range(40)])
    verdicts = world.judge(before, SETTINGS, NOW - 1634 * DAY_US)
    blocked = {name for name, v in verdicts.items() if v.verdict == "block"}
    assert blocked >= {"video_topics.ended_share", "video_topics.rows"}
    assert not blocked & BLOCKED


def test_a_first_load_and_a_home_of_hours(grown: tuple[World, dict[str, int]]) -> None:
    world, before = grown
    first = world.judge(None, SETTINGS, NOW - 1634 * DAY_US)
    assert first["video_statistics.appeared_share"].text == "not applied: first load"
    hours = SETTINGS.model_copy(update={"compare_within": timedelta(hours=1)})
    verdict = world.judge(before, hours, NOW - DAY_US // 6)["video_statistics.appeared_share"]
    assert verdict.text == "not applied: the last release is 4 hours older"


def test_with_one_model_most_topics_stay_and_with_another_they_need_not(tmp_path: Path) -> None:
    """By default: 12 of 40 videos with other topics warn, 24 block; counts may all change."""
    world = World(tmp_path)
    videos = [f"v{i}" for i in range(40)]
    world.put(VIDEO_TOPICS, [video_topics(v, [1 + i % 8]) for i, v in enumerate(videos)])
    world.put(VIDEO_STATISTICS, [statistics(v, 1) for v in videos])
    before = dict(world.versions)
    world.put(VIDEO_STATISTICS, [statistics(v, 2) for v in videos])
    for changed, expected in ((12, "warn: 0.3 is above 0.2"), (24, "block: 0.6 is above 0.5")):
        rows = [video_topics(v, [2 + i % 8]) for i, v in enumerate(videos[:changed])]
        world.put(VIDEO_TOPICS, rows)
        verdicts = world.judge(before, GateSettings())
        assert verdicts["video_topics.changed_share"].text == expected
        assert verdicts["video_statistics.changed_share"].text == "ok"
        other = world.judge(before, GateSettings(), models=(1, 2))["video_topics.changed_share"]
        assert (other.figure, other.verdict) == (changed / 40, "not applied")
        assert other.note == "topic model version 2, the last release is of version 1"
