"""Live keys, and which end, appear or change: by hand, and against a plain oracle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from gate_worlds import World, queue_entry, statistics, topic, video_topics
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtopics.contracts import (
    TOPIC_QUEUES,
    TOPICS,
    USER_RECENT_CLICKS,
    USER_STATISTICS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)


def figures(verdicts: dict[str, Any], table: str) -> dict[str, float | None]:
    names = ("rows", "ended_share", "appeared_share", "changed_share")
    return {name: verdicts[f"{table}.{name}"].figure for name in names}


def test_shares_are_of_the_keys_that_were_live_before(tmp_path: Path) -> None:
    """a stays, b changes, c and d end, e appears: of 4, 2 end, 1 appears, 1 changes."""
    world = World(tmp_path)
    before = {"video_statistics": world.put(VIDEO_STATISTICS, [statistics(v, 1) for v in "abcd"])}
    world.put(
        VIDEO_STATISTICS,
        [{"video_id": "c"}, {"video_id": "d"}, statistics("b", 2), statistics("e", 1)],
    )
    verdicts = world.judge(before)
    assert figures(verdicts, "video_statistics") == {
        "rows": 3,
        "ended_share": 0.5,
        "appeared_share": 0.25,
        "changed_share": 0.25,
    }
    assert verdicts["video_statistics.ended_share"].examples == ("c", "d")


def test_rows_of_a_rejected_run_that_were_written_again_count_no_more(tmp_path: Path) -> None:
    """A run ended all keys and was rejected; the next one writes their values again."""
    world = World(tmp_path)
    before = {"video_statistics": world.put(VIDEO_STATISTICS, [statistics(v, 1) for v in "ab"])}
    world.put(VIDEO_STATISTICS, [{"video_id": v} for v in "ab"])
    assert world.judge(before)["video_statistics.ended_share"].figure == 1
    world.put(VIDEO_STATISTICS, [statistics(v, 1) for v in "ab"])
    assert figures(world.judge(before), "video_statistics") == {
        "rows": 2,
        "ended_share": 0,
        "appeared_share": 0,
        "changed_share": 0,
    }


def test_a_late_correction_below_a_later_row_changes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {"video_statistics": world.put(VIDEO_STATISTICS, [statistics("a", 1)], event=50)}
    world.put(VIDEO_STATISTICS, [statistics("a", 9)], event=20, created=99)
    assert world.judge(before)["video_statistics.changed_share"].figure == 0


def test_a_first_release_has_no_shares_of_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.put(VIDEO_STATISTICS, [statistics("a", 1)])
    for before in (None, {}):  # no release, and a table that this release adds
        verdict = world.judge(before)["video_statistics.ended_share"]
        assert (verdict.figure, verdict.text) == (None, "not applied: first load")


def test_a_table_that_held_nothing_is_a_first_load(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {"video_statistics": world.put(VIDEO_STATISTICS, [])}
    world.put(VIDEO_STATISTICS, [statistics("a", 1)])
    verdicts = world.judge(before)
    assert verdicts["video_statistics.appeared_share"].text == "not applied: first load"
    assert verdicts["video_statistics.rows"].verdict == "ok"


def test_a_table_that_the_candidate_lacks_has_lost_every_key(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {"video_statistics": world.put(VIDEO_STATISTICS, [statistics(v, 1) for v in "ab"])}
    world.versions = {}
    verdicts = world.judge(before)
    assert verdicts["video_statistics.rows"].text == "block: 0 is below 1"
    assert verdicts["video_statistics.ended_share"].text == "block: 1 is above 0.3"


def test_a_version_in_force_that_does_not_open_blocks_until_it_is_let_pass(tmp_path: Path) -> None:
    """The table was replaced by one that never had version 7."""
    world = World(tmp_path)
    world.put(VIDEO_STATISTICS, [statistics("a", 1)])
    verdicts = world.judge({"video_statistics": 7})
    assert verdicts["video_statistics.lost_history"].text == "block: 1 is above 0"
    reason = "not applied: version 7, to compare with, doesn't open"
    assert verdicts["video_statistics.ended_share"].text == reason
    assert world.judge(None)["video_statistics.lost_history"].verdict == "ok"


def test_a_table_whose_version_stayed_is_not_judged_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    version = world.put(VIDEO_STATISTICS, [statistics("a", 1)])
    assert world.judge({"video_statistics": version}) == {}


def test_a_retired_topic_has_ended_and_a_snapshot_is_compared_by_its_values(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.put(TOPICS, [topic(1), topic(2)])
    world.put(TOPIC_QUEUES, [queue_entry(1, "a"), queue_entry(1, "b", 2)])
    before = dict(world.versions)
    world.put(TOPICS, [topic(2, retired=5), topic(3)])
    world.put(TOPIC_QUEUES, [queue_entry(1, "a"), queue_entry(1, "b", 3), queue_entry(1, "c")])
    verdicts = world.judge(before)
    assert figures(verdicts, "topics") == {
        "rows": 2,
        "ended_share": 0.5,
        "appeared_share": 0.5,
        "changed_share": 0,
    }
    assert figures(verdicts, "topic_queues") == {
        "rows": 3,
        "ended_share": 0,
        "appeared_share": 0.5,
        "changed_share": 0.5,
    }


def test_topic_ids_of_two_epochs_are_not_compared(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {"topics": world.put(TOPICS, [topic(1)])}
    world.put(TOPICS, [{"topic_id": 1}, topic(7, topic_epoch=2)])
    verdicts = world.judge(before)
    assert verdicts["topics.ended_share"].text == "not applied: topic IDs of epochs 1 and 2 differ"
    assert verdicts["topics.epoch_change"].text == "warn: 1 is above 0"


@pytest.mark.parametrize("name", ["topic_count", "topic_ids"])
def test_nulls_are_counted_by_column(tmp_path: Path, name: str) -> None:
    world = World(tmp_path)
    world.put(VIDEO_TOPICS, [video_topics(v, [1]) for v in "abc"])
    world.put(VIDEO_TOPICS, [video_topics("b", [1], **{name: None})])
    verdicts = world.judge(None)
    verdict = verdicts[f"video_topics.{name}.null_share"]
    assert verdict.figure == pytest.approx(1 / 3)
    assert (verdict.verdict, verdict.examples) == ("block", ("b",))
    others = [v for n, v in verdicts.items() if n.endswith("null_share") and v is not verdict]
    assert {v.figure for v in others} == {0}


ROW = st.tuples(
    st.sampled_from("abcdef"),
    st.integers(1, 9),
    st.none() | st.integers(1, 3),
)


def live(commits: list[list[tuple[str, int, int | None]]]) -> dict[str, int]:
    """Key to value: of each key the row of the greatest (event, commit); None has ended it."""
    latest: dict[str, tuple[int, int, int | None]] = {}
    for number, rows in enumerate(commits):
        for key, event, value in rows:
            if key not in latest or (event, number) > latest[key][:2]:
                latest[key] = (event, number, value)
    return {key: value for key, (_, _, value) in latest.items() if value is not None}


@settings(max_examples=30)
@given(
    st.lists(st.lists(ROW, max_size=8, unique_by=lambda row: row[:2]), min_size=1, max_size=4),
    st.integers(0, 4),
)
def test_key_figures_are_the_oracles(
    commits: list[list[tuple[str, int, int | None]]], known: int
) -> None:
    with tempfile.TemporaryDirectory() as root:
        world, before = World(Path(root)), None
        for number, rows in enumerate(commits):
            if number == known:
                before = dict(world.versions)
            plain = [
                {"event_timestamp": event, **(statistics(key, v) if v else {"video_id": key})}
                for key, event, v in rows
            ]
            world.put(VIDEO_STATISTICS, plain)
        old, new = live(commits[:known] if before else []), live(commits)
        if before is None or not old:
            shares: list[float | None] = [None, None, None]
        else:
            ended, appeared = set(old) - set(new), set(new) - set(old)
            changed = {key for key in set(old) & set(new) if old[key] != new[key]}
            shares = [len(keys) / len(old) for keys in (ended, appeared, changed)]
        verdicts = world.judge(before)
    assert list(figures(verdicts, "video_statistics").values()) == [len(new), *shares]


def test_views_of_users_are_judged_for_nulls_and_their_totals_not_for_drift(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    names = [c.name for c in USER_STATISTICS.values]
    rows = [{"user_id": f"u{i}", **dict.fromkeys(names, i)} for i in range(99)]
    before = {"user_statistics": world.put(USER_STATISTICS, rows)}
    world.put(USER_STATISTICS, [row | dict.fromkeys(names, 10_000) for row in rows])
    clicks = {"recent_video_ids": ["v"], "recent_times": None, "recent_watch_seconds": [-1.0]}
    world.put(USER_RECENT_CLICKS, [{"user_id": "u", **clicks}])
    verdicts = world.judge(before)
    drift = verdicts["user_statistics.user_exposures.psi"]
    assert (drift.figure or 0) > 1
    assert drift.verdict in ("ok", "not applied")
    nulls = {n: v.verdict for n, v in verdicts.items() if n.startswith("user_recent_clicks.")}
    assert {n for n, v in nulls.items() if v == "block"} == {
        "user_recent_clicks.recent_times.null_share"
    }
