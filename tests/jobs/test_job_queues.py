"""topic_queues and user_recent_clicks against plain Python over the tables that they read."""

from collections import Counter, defaultdict
from dataclasses import replace

import plain
import pyarrow as pa
import pytest
import small_world
from small_home import T1, T2, of_the_change

from producers.queues.rules import queue
from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    TOPIC_QUEUES,
    USER_RECENT_CLICKS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.jobs.pipeline import find
from vidtopics.rates import decayed
from vidtopics.tables import Commit

WEEK = 7 * 86_400_000_000
QUEUES, RECENT = find(["topic_queues", "user_recent_clicks"])[::-1]


def by_queue(rows):
    queues = defaultdict(list)
    for row in sorted(rows, key=lambda r: (r["queue_level"], r["topic_id"], r["queue_position"])):
        queues[row["queue_level"], row["topic_id"]].append(row)
    return dict(queues)


def expected_queues(home, at):
    """Each live video with its statistics in all of its queues, through the producer.

    Rates are drawn to that of all videos with statistics, w times.
    """
    live = plain.live_videos(home, at)
    counts = {r["video_id"]: r for r in home.holds(VIDEO_STATISTICS, at)}
    statistics = {v: (r["video_exposures"], r["video_clicks"]) for v, r in counts.items()}
    shown, clicked = (sum(pair[i] for pair in statistics.values()) for i in (0, 1))
    w = home.settings.statistics.prior_exposures
    topics = {r["video_id"]: r for r in home.holds(VIDEO_TOPICS, at)}
    videos = defaultdict(list)
    for video_id, row in live.items():
        exposures, clicks = statistics[video_id]
        count = topics[video_id]["topic_count"] if video_id in topics else 0
        names = {("catalogue", 0)}
        for level, slots in (("topic", "topic_ids"), ("parent", "parent_topic_ids")):
            names |= {(level, topics[video_id][slots][i]) for i in range(count)}
        for level, topic in names:
            videos[level, topic].append(
                {
                    "queue_level": level,
                    "topic_id": topic,
                    "video_id": video_id,
                    "video_exposures": exposures,
                    "video_clicks": clicks,
                    "video_ctr": (clicks + w * clicked / shown) / (exposures + w),
                    "decayed_clicks": decayed_clicks(home, at, counts[video_id]),
                    "young": row["published_at"].timestamp() * 1e6 > at - WEEK,
                    "topic_epoch": 1,
                }
            )
    settings, seed = home.settings.queues, home.settings.seed
    queues = {
        name: queue(pa.Table.from_pylist(rows), settings, seed).to_pylist()
        for name, rows in videos.items()
    }
    return {name: rows for name, rows in queues.items() if rows}


def decayed_clicks(home, at, row):
    """Decayed from the video's last event on to the run."""
    if row["video_decayed_at"] is None:
        return 0.0
    half_life = home.settings.statistics.half_life
    return decayed(row["video_decayed_clicks"], row["video_decayed_at"], at, half_life)


def places(queues):
    return {
        name: [(r["video_id"], r["fresh"], r["queue_exposures"]) for r in rows]
        for name, rows in queues.items()
    }


@pytest.mark.parametrize("at", [T1, T2], ids=["T1", "T2"])
def test_queues_by_the_rules(home, at):
    queues, expected = by_queue(home.holds(TOPIC_QUEUES, at)), expected_queues(home, at)
    assert Counter(level for level, _ in queues).keys() == {"topic", "parent", "catalogue"}
    assert len(queues) > 5
    assert sum(r["fresh"] for queue in queues.values() for r in queue) > 0
    assert places(queues) == places(expected)
    for name, rows in queues.items():
        assert [r["queue_position"] for r in rows] == list(range(1, len(rows) + 1))
        for figure in ("queue_ctr", "queue_clicks"):
            assert [r[figure] for r in rows] == pytest.approx(
                [r[figure] for r in expected[name]], abs=1e-12
            )
    assert {r["topic_epoch"] for queue in queues.values() for r in queue} == {1}


def test_a_removed_video_is_in_no_queue_from_its_removal_on(home, fork):
    """Queues keep every rate and judge nobody. Half a day after T1 topics
    and statistics still hold a video that was taken down since: no run has ended them.
    """
    wide = fork()
    queues = home.settings.queues.model_copy(update={"min_exposures": 0, "min_ctr": 0.0})
    wide.settings = home.settings.model_copy(update={"queues": queues})
    for at, known in ((T1, True), (T1 + 43_200_000_000, False)):
        QUEUES.run(wide.at(at))
        videos = {r["video_id"] for r in wide.holds(TOPIC_QUEUES, at)}
        assert (small_world.REMOVED_LATER in videos, small_world.REMOVED_BEFORE in videos) == (
            known,
            False,
        )
        with_topics = {r["video_id"] for r in wide.holds(VIDEO_TOPICS, at) if r["topic_count"]}
        assert small_world.REMOVED_LATER in with_topics
        assert with_topics & plain.live_videos(home, at).keys() < videos
        assert videos == plain.live_videos(home, at).keys()


def expected_clicks(home, at):
    """Clicks before `at` and known by it, newest first; each video at its last click."""
    before = lambda r: r["event_timestamp"] < at and r["created_timestamp"] <= at  # noqa: E731
    shown = {
        r["event_id"]: (r["user_id"], r["video_id"]) for r in home.rows(IMPRESSIONS) if before(r)
    }
    clicks = [r for r in home.rows(CLICKS) if before(r) and r["event_id"] in shown]
    videos_of = defaultdict(dict)
    newest = lambda r: (r["event_timestamp"], r["video_id"])  # noqa: E731
    for row in sorted(clicks, key=newest, reverse=True):
        user, video = shown[row["event_id"]]
        videos_of[user].setdefault(video)
    return {
        user: list(videos)[: home.settings.recall.recent_clicks]
        for user, videos in videos_of.items()
    }


def held_clicks(home, at):
    return {r["user_id"]: r["recent_video_ids"] for r in home.holds(USER_RECENT_CLICKS, at)}


@pytest.mark.parametrize("at", [T1, T2], ids=["T1", "T2"])
def test_recent_clicks_by_hand(home, at):
    expected = expected_clicks(home, at)
    assert held_clicks(home, at) == expected
    assert len(expected) > 40
    assert "edge" in held_clicks(home, T2)


def test_the_edge_of_time_and_knowledge(home):
    """v021's two clicks are 3 h before T1, one known at T1, one later; v020's come after T1."""
    assert held_clicks(home, T1)["edge"] == ["v021"]
    assert held_clicks(home, T2)["edge"] == ["v020", "v021"]


def test_fewer_clicks_are_kept_and_ties_and_repeats_are_settled(inputs):
    """Clicks of one user after all others: a at 1, b at 2, at 3 c (event y) and a (event x)."""
    clicks = [("p", "v001", 1), ("q", "v002", 2), ("y", "v003", 3), ("x", "v001", 3)]
    add_clicks(inputs, "fan", clicks)
    for length, expected in ((128, ["v003", "v001", "v002"]), (2, ["v003", "v001"])):
        recall = inputs.settings.recall.model_copy(update={"recent_clicks": length})
        short = replace(inputs, settings=inputs.settings.model_copy(update={"recall": recall}))
        RECENT.run(short.at(T2))
        assert held_clicks(short, T2)["fan"] == expected
        assert max(len(videos) for videos in held_clicks(short, T2).values()) <= length
        assert held_clicks(short, T2) == expected_clicks(short, T2)


def add_clicks(home, user, clicks):
    shown, clicked = home.tables.read(IMPRESSIONS), home.tables.read(CLICKS)
    start = T2 - 1_000
    times = [{"event_timestamp": start + t, "created_timestamp": start + t} for _, _, t in clicks]
    impressions = [
        {"event_id": e, "user_id": user, "video_id": v, "request_id": None, "position": None} | time
        for (e, v, _), time in zip(clicks, times, strict=True)
    ]
    clicks = [
        {"event_id": e, "user_id": user, "video_id": v, "watch_seconds": None} | time
        for (e, v, _), time in zip(clicks, times, strict=True)
    ]
    for table, rows, schema in (
        (IMPRESSIONS, impressions, shown.schema),
        (CLICKS, clicks, clicked.schema),
    ):
        home.tables.publish(
            table, pa.Table.from_pylist(rows, schema=schema), Commit("ingest", T2, T2, live=True)
        )


def test_a_rerun_with_equal_rows_is_recorded_and_writes_none(fork):
    same = fork()
    for job in (QUEUES, RECENT):
        assert replace(job, code=("vidtopics.jobs.inputs",)).run(same.at(same.live_us)).rows == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"queues": {"min_ctr": 0.1}}, [QUEUES]),
        ({"recall": {"recent_clicks": 9}}, [RECENT]),
        ({"recall": {"topics": 3}}, []),  # read online, not by a job
    ],
    ids=of_the_change,
)
def test_a_changed_setting_runs_the_job_that_depends_on_it(home, change, expected):
    [(section, values)] = change.items()
    chosen = getattr(home.settings, section).model_copy(update=values)
    run = replace(home, settings=home.settings.model_copy(update={section: chosen})).at(T2)
    assert [
        j for j in (QUEUES, RECENT) if not run.tables.is_done(j.table, j.commit(run))
    ] == expected
