"""Rows of the training frame: which there are, their labels and topics, and as what they come."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from frame_worlds import LIMIT, NEVER, WINDOW, World, inputs, value_at, world

from consumers.training.frame import build_frame
from consumers.training.inputs import ViewRows
from vidtopics.settings import RankingSettings, Settings

SETTINGS = Settings(
    ranking=RankingSettings(label_window=timedelta(microseconds=WINDOW), history=LIMIT)
)


def rows(w, as_of=NEVER, *, static=False):
    """Event id, label and topic of each row of the oracle: plain loops."""
    clicks = {i: (at, created) for i, at, created in w.clicks}
    for i, _, video, t, created in w.impressions:
        if t + WINDOW > as_of or created > as_of:
            continue
        at, known = clicks.get(i, (NEVER, NEVER))
        clicked = t <= at <= t + WINDOW and known <= as_of
        yield i, clicked, value_at(w.topics, video, NEVER if static else t)


def plain(frame):
    """The same of a frame."""
    ids = frame.impressions["event_id"].to_pylist()
    topics = frame.topics["topic_ids"].to_pylist()
    of_row = [None if at < 0 or not topics[at] else topics[at][0] for at in frame.topic_row]
    return list(zip(ids, frame.clicked.tolist(), of_row, strict=True))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("as_of", [NEVER, 30])
def test_equals_the_oracle(seed, as_of):
    w = world(seed)
    frame = build_frame(inputs(w), SETTINGS, as_of_us=as_of)
    assert plain(frame) == list(rows(w, as_of))
    assert len(frame) == len(plain(frame))


@pytest.mark.parametrize("seed", range(4))
def test_static_topics_are_those_of_the_last_release(seed):
    w = world(seed)
    frame = build_frame(inputs(w), SETTINGS, as_of_us=NEVER, topics="all tags")
    assert plain(frame) == list(rows(w, static=True))
    as_known = build_frame(inputs(w), SETTINGS, as_of_us=NEVER)
    np.testing.assert_array_equal(frame.state.statistics, as_known.state.statistics)


@pytest.mark.parametrize("seed", range(4))
def test_the_topics_of_any_video_at_any_time_are_those_known_then(seed):
    w = world(seed)
    frame = build_frame(inputs(w), SETTINGS, as_of_us=NEVER)
    topics = frame.topics["topic_ids"].to_pylist()
    for place, video in enumerate(frame.videos.to_pylist()):
        for t in range(0, 50):
            row = frame.versions.at(np.array([place], np.int32), np.array([t]))[0]
            value = None if row < 0 or topics[row] is None else topics[row][0]
            assert value == value_at(w.topics, video, t)


def test_rows_come_in_the_order_of_the_log_whatever_it_is():
    w = world(3)
    turned = replace(w, impressions=w.impressions[::-1])
    ids = [row[0] for row in plain(build_frame(inputs(turned), SETTINGS, as_of_us=NEVER))]
    assert ids == [row[0] for row in w.impressions][::-1]


def test_empty_worlds():
    frame = build_frame(inputs(World([], [], [], [])), SETTINGS, as_of_us=NEVER)
    assert len(frame) == 0
    one = build_frame(inputs(World([("a", "u", "v", 1, 1)], [], [], [])), SETTINGS, as_of_us=NEVER)
    assert plain(one) == [("a", False, None)]
    assert one.state.statistics.tolist() == [[0] * 6]
    assert np.isnan(one.counts).all()


def test_clicks_of_unknown_impressions_are_left_out():
    w = World([("a", "u", "v", 1, 1)], [("zz", 0, 0)], [], [])
    assert plain(build_frame(inputs(w), SETTINGS, as_of_us=NEVER)) == [("a", False, None)]


def test_an_impression_that_is_not_known_yet_is_no_row():
    w = World([("a", "u", "v", 1, 99), ("b", "u", "v", 1, 1)], [], [], [])
    for as_of, ids in ((50, ["b"]), (99, ["a", "b"])):
        assert [row[0] for row in plain(build_frame(inputs(w), SETTINGS, as_of_us=as_of))] == ids


def test_publication_is_that_of_the_catalogue_at_the_time():
    """Corrected to 5 at 9: a row at 8 has the first delivery, one at 10 the correction."""
    shown = [("a", "u", "v", 8, 8), ("b", "u", "v", 10, 10), ("c", "u", "w", 10, 10)]
    keys = pa.table({"video_id": ["v", "v"]})
    values = pa.table({"published_at": pa.array([3, 5], pa.timestamp("us"))})
    catalogue = ViewRows(keys, np.array([3, 3]), np.array([3, 9]), values)
    plain_inputs = replace(inputs(World(shown, [], [], [])), catalogue=catalogue)
    frame = build_frame(plain_inputs, SETTINGS, as_of_us=NEVER)
    np.testing.assert_array_equal(frame.published_us, [3, 5, np.nan])
