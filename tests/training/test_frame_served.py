"""Frames as served: states and histories from rows of the user's views."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import replay_oracle as oracle
from frame_worlds import NEVER, WINDOW, inputs, world

from consumers.encoding.topics import Centres, Slots, TopicRows
from consumers.training.frame import build_frame
from consumers.training.inputs import ViewRows, read
from consumers.training.served import Entries, counts_of, merged, states
from consumers.training.tallies import Served
from consumers.training.versions import Versions
from vidtopics.errors import TableError
from vidtopics.joins import Commits, Serving
from vidtopics.settings import RankingSettings, Settings, UserSettings
from vidtopics.tables import FOREVER, Tables

HALF_LIFE = timedelta(microseconds=6)
SETTINGS = Settings(
    ranking=RankingSettings(label_window=timedelta(microseconds=WINDOW)),
    users=UserSettings(half_life=HALF_LIFE),
)


def clicks(*lists):
    """Rows of `user_recent_clicks`: (video, time) newest first; None: a tombstone."""
    columns = {
        "recent_video_ids": [None if e is None else [v for v, _ in e] for e in lists],
        "recent_times": [None if e is None else [t for _, t in e] for e in lists],
        "recent_watch_seconds": pa.array(
            [None if e is None else [-1.0 for _ in e] for e in lists], pa.list_(pa.float32())
        ),
    }
    return Entries.clicked(pa.table(columns))


def skips(*lists):
    """Rows of `user_recent_skips`, each shown in the third place."""
    columns = {
        "skipped_video_ids": [[v for v, _ in e] for e in lists],
        "skipped_times": [[t for _, t in e] for e in lists],
        "skipped_positions": [[3 for _ in e] for e in lists],
    }
    return Entries.skipped(pa.table(columns))


def test_histories_are_clicks_and_skips_by_time_and_the_newest_of_both():
    videos = pa.array(["a", "b", "c", "d"])
    log, windows = merged(
        clicks([("a", 9), ("b", 2)], None, [("c", 4)]),
        skips([("d", 7), ("c", 5), ("d", 1)], [("a", 3)]),
        np.array([0, 2, -1, 1, 0]),
        np.array([0, 1, 1, -1, 0]),
        np.array([20, 20, 20, 20, 30]),
        videos,
        limit=4,
    )

    def history(n):
        at = np.arange(windows.first[n], windows.end[n])
        entries = zip(
            videos.take(log.video[at]).to_pylist(),
            log.shown_us[at].tolist(),
            (log.clicked_us[at] <= windows.seen_us[n]).tolist(),
            strict=True,
        )
        return list(entries)

    newest = [("b", 2, True), ("c", 5, False), ("d", 7, False), ("a", 9, True)]
    assert history(0) == history(4) == newest
    assert history(1) == [("a", 3, False), ("c", 4, True)]
    assert history(2) == [("a", 3, False)]
    assert history(3) == []
    assert windows.seen_us.tolist() == [20, 20, 20, 20, 30]
    assert np.isnan(log.watch_seconds).all()
    assert set(log.position[log.clicked_us == FOREVER].tolist()) == {3}


def user_rows(exposures, counted, recent, at_us, topics=()):
    """A row of `user_statistics` and `user_topics`; `topics`: (id, exposures, clicks, expected)."""
    names = ("exposures", "clicks", "expected_clicks")
    late = ("decayed_exposures", "decayed_clicks", "decayed_expected")
    statistics = dict(zip(names, [[v] for v in (exposures, *counted)], strict=True))
    statistics |= dict(zip(late, [[v] for v in recent], strict=True))
    lists = {
        f"user_topic_{name}": pa.array(
            [[topic[place] for topic in topics]], pa.list_(pa.float32() if place else pa.int64())
        )
        for place, name in enumerate(("ids", "exposures", "clicks", "expected"))
    }
    lists |= {
        name.replace("topic", "parent"): pa.array([[]], column.type)
        for name, column in lists.items()
    }
    return {
        "user_statistics": pa.table(
            {f"user_{name}": values for name, values in statistics.items()}
            | {"user_decayed_at": [at_us]}
        ),
        "user_topics": pa.table(lists | {"user_topic_epoch": [1]}),
    }


def test_statistics_decay_from_the_users_last_event_to_the_row():
    values = user_rows(8, (4, 2.0), (6.0, 3.0, 1.0), at_us=10)
    rows = {name: np.array([0, 0, -1]) for name in values}
    state = states(values, rows, np.array([10, 22, 22]), HALF_LIFE)
    whole, quarter = [6, 3, 1], [1.5, 0.75, 0.25]
    assert state.statistics.tolist() == [[8, 4, 2, *whole], [8, 4, 2, *quarter], [0] * 6]


@pytest.mark.parametrize("seed", range(4))
def test_lists_give_the_sums_that_the_replay_of_the_same_counts_gives(seed, monkeypatch):
    """The replay's own counts of a row, written as a row of the views, give that row's sums."""
    monkeypatch.setattr("consumers.training.log.DAY_US", 10)
    monkeypatch.setattr(oracle, "DAY", 10)
    w = world(seed)
    frame = build_frame(inputs(w), SETTINGS, as_of_us=NEVER)
    centroids = np.random.default_rng(0).normal(size=(25, 3)).astype(np.float32) / 3
    centres = Centres.of(np.arange(25), centroids, np.array([0]), 1)
    topics = TopicRows.of(frame.topics, centres)
    replayed = frame.state.topic_sums(frame.topic_row, topics, centres)
    prior, log = SETTINGS.statistics.prior_exposures, oracle.entries(w)
    for n, (_, user, _, t, _) in enumerate(w.impressions):
        counts = oracle.topic_counts(w, log, user, t, prior)
        lists = [(topic, *values) for topic, values in counts.items()]
        values = user_rows(0, (0, 0.0), (0.0, 0.0, 0.0), t, lists)
        first = {name: np.zeros(1, int) for name in values}
        state = states(values, first, np.array([t]), HALF_LIFE)
        sums = state.topic_sums(frame.topic_row[n : n + 1], topics, centres)
        for part, whole in zip(sums, replayed, strict=True):
            np.testing.assert_allclose(part[0], whole[n], rtol=1e-4, atol=1e-5)


def test_rows_that_share_a_list_have_the_sums_of_each_alone():
    """In whatever order lists come: what one says of a topic must not reach another's rows."""
    r = np.random.default_rng(3)
    starts, ids = np.array([0, 3, 5]), np.array([1, 4, 2, 2, 3])
    counts = r.random((5, 3)) * [9, 6, 3]
    centroids = r.normal(size=(5, 3)).astype(np.float32) / 3
    centres = Centres.of(np.arange(1, 6), centroids, np.array([1, 2, 3, 4]), 1)
    row = np.array([0, 0, 1, 0, -1, 1, 1])
    candidate = np.array([0, 1, 0, 2, 0, 1, -1], np.int32)
    lists = (Slots(starts, ids, counts),) * 2
    epochs = np.ones(2, np.int64)
    topic_ids = np.array([[1, 2, -1], [2, 3, 4], [1, -1, 9]])
    weights = r.random((3, 3)).astype(np.float32)
    topics = TopicRows.of_slots(topic_ids, weights, topic_ids.copy(), np.ones(3), centres)
    sums = Served(np.zeros((7, 6)), row, lists, epochs).topic_sums(candidate, topics, centres)
    for n in range(len(row)):
        own = Served(np.zeros((1, 6)), row[n : n + 1], lists, epochs)
        alone = own.topic_sums(candidate[n : n + 1], topics, centres)
        for part, whole in zip(alone, sums, strict=True):
            np.testing.assert_array_equal(part[0], whole[n])
    assert [bool(n) for n in sums.match.any(1)] == [True, True, True, True, False, True, False]


def test_lists_of_another_epoch_count_as_none():
    values = user_rows(1, (0, 0.0), (0.0, 0.0, 0.0), 1, [(3, 1, 1, 0)])
    state = states(values, {name: np.zeros(1, int) for name in values}, np.array([1]), HALF_LIFE)
    topics = TopicRows(
        np.array([[4]], np.int32),
        *[np.ones((1, 1), np.float32)] * 2,
        np.zeros((1, 1), np.int32),
        np.array([True]),
        (26, 1),
    )
    candidate, ids = np.zeros(1, np.int32), np.arange(25)
    for epoch, clicked in ((1, 1), (2, 0)):
        centres = Centres.of(ids, np.eye(25, dtype=np.float32), ids[:0], epoch)
        assert state.topic_sums(candidate, topics, centres).match[0, 1] == clicked


def test_topics_as_served_change_when_releases_go_live():
    """Commits 1 (created 5) and 2 (created 7) go live at 100 and 200; rolled back at 300."""
    keys = pa.table({"video_id": ["a", "a"]})
    times = np.array([5, 7])
    steps = [(100, 1), (200, 2), (300, 1)]
    serving = Serving.of(steps, Commits.of([(5, 1), (7, 2)]), {300})
    rows = ViewRows(keys, times, times, pa.table({"n": [0, 1]}), serving=serving)
    versions = Versions.of(rows, pa.array(["a", "b"]))
    at = [10, 99, 100, 199, 200, 299, 300, 400]
    row = versions.at(np.zeros(len(at), np.int32), np.array(at))
    assert row.tolist() == [-1, -1, 0, 0, 1, 1, 0, 0]
    assert versions.at(np.ones(1, np.int32), np.array([400])).tolist() == [-1]


def test_frames_as_served_need_a_store_that_served(tmp_path):
    with pytest.raises(TableError, match="expected a load"):
        read(Tables(tmp_path), {}, known="as served")


def test_counts_of_a_video_without_statistics_are_unknown():
    rows = pa.table({"video_exposures": [4, None], "video_clicks": [1, None]})
    np.testing.assert_array_equal(counts_of(rows), [[4, 1], [np.nan, np.nan]])
