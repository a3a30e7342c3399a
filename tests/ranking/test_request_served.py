"""A request's candidates are encoded as rows of a frame as served at the same time."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.encoding.histories import History, window_counts
from consumers.encoding.topics import Centres, TopicRows
from consumers.encoding.vocabulary import Vocabulary
from consumers.ranking.inputs import encode
from consumers.ranking.requests import encode_request
from consumers.training.frame import build_frame
from consumers.training.inputs import Inputs, ViewRows
from vidtopics.online import Features
from vidtopics.rates import Prior
from vidtopics.settings import RankingSettings, Settings
from vidtopics.tables import FOREVER

HOUR = 3_600_000_000
NOW = 100 * HOUR
PLACES = 4
SETTINGS = Settings(ranking=RankingSettings(history=PLACES))
TOPICS = {
    "topic_ids": [[i % 3 + 1, 4] + [-1] * 6 for i in range(6)],
    "topic_weights": [[0.9, 0.3] + [0.0] * 6 for _ in range(6)],
    "parent_topic_ids": [[7, 8] + [-1] * 6 for _ in range(6)],
    "topic_count": [2] * 6,
    "below_threshold": [False] * 6,
    "topic_epoch": [1] * 6,
}
STATISTICS = {"video_exposures": [5, 40, 0, 7, 8, 9], "video_clicks": [1, 30, 0, 2, 2, 2]}
VIDEOS = [f"v{i}" for i in range(6)]
USER = {
    "user_statistics": {
        "user_exposures": 20,
        "user_clicks": 9,
        "user_expected_clicks": 6.5,
        "user_decayed_exposures": 8.0,
        "user_decayed_clicks": 4.0,
        "user_decayed_expected": 2.0,
        "user_decayed_at": NOW - 30 * HOUR,
    },
    "user_topics": {
        "user_topic_ids": [1, 4, 2],
        "user_topic_exposures": [9.0, 6.0, 5.0],
        "user_topic_clicks": [6.0, 3.0, 0.0],
        "user_topic_expected": [3.0, 2.0, 1.5],
        "user_parent_ids": [7, 8],
        "user_parent_exposures": [14.0, 6.0],
        "user_parent_clicks": [6.0, 3.0],
        "user_parent_expected": [4.5, 2.0],
        "user_topic_epoch": 1,
    },
    "user_recent_clicks": {
        "recent_video_ids": ["v1", "v3"],
        "recent_times": [NOW - 2 * HOUR, NOW - 9 * HOUR],
        "recent_watch_seconds": [3.0, -1.0],
    },
    "user_recent_skips": {
        "skipped_video_ids": ["v2", "v1", "v0"],
        "skipped_times": [NOW - HOUR, NOW - 3 * HOUR, NOW - 40 * HOUR],
        "skipped_positions": [2, -1, 1],
    },
}
KNOWN = Vocabulary(
    pa.array(["u"]),
    pa.array(VIDEOS[:4]),
    Centres.of(np.arange(1, 5), np.eye(4, dtype=np.float32), np.array([7, 8]), 1),
    Prior(0.3, 10.0),
    0.7,
    0.4,
)


def test_a_video_of_the_history_whose_topics_nobody_read_counts_in_no_tier():
    ids, none = np.arange(1, 9)[None], np.full((1, 8), -1)
    centres = Centres.of(np.arange(1, 9), np.eye(8, dtype=np.float32), np.array([7]), 1)
    topics = TopicRows.of_slots(ids, np.ones((1, 8), np.float32), none, np.array([1]), centres)
    unread = History(np.zeros(1, np.int32), np.ones(1, np.int64), np.ones(1, bool), np.array([-1]))
    counts = window_counts(unread, np.ones(1, np.int32), slice(0, 1), topics)
    assert counts[0].tolist() == [1, 1] + [0] * (counts.shape[1] - 2)


def view(keys, columns):
    zero = np.zeros(len(next(iter(columns.values()))), np.int64)
    return ViewRows(pa.table(keys), zero, zero, pa.table(columns))


def as_served(ids, topics=TOPICS, users=USER):
    """The candidates as impressions of u, each of which sees the rows that a store has."""
    shown = {"event_id": ids, "user_id": ["u"] * len(ids), "video_id": ids}
    shown |= {"event_us": [NOW] * len(ids), "created_us": [NOW] * len(ids)}
    plain = Inputs.of(
        shown,
        {"event_id": [], "event_us": [], "created_us": []},
        video_topics=view({"video_id": VIDEOS}, topics),
        video_statistics=view({"video_id": VIDEOS}, STATISTICS),
    )
    users = {
        name: view({"user_id": ["u"]}, {column: [value] for column, value in row.items()})
        for name, row in users.items()
    }
    return build_frame(replace(plain, users=users), SETTINGS, as_of_us=FOREVER)


def features(columns, rows=None):
    """A read of a view: all present."""
    n = len(next(iter(columns.values())))
    rows = np.arange(n) if rows is None else rows
    arrays = {}
    for name, values in columns.items():
        if name.startswith(("user_topic_", "user_parent_", "recent", "skipped")) and isinstance(
            values[0], list
        ):
            arrays[name] = np.empty(n, object)
            for row, value in enumerate(values):
                arrays[name][row] = value if isinstance(value[0], str) else np.array(value)
        else:
            arrays[name] = np.array(values)
    zero = np.zeros(len(rows), np.int64)
    taken = {name: array[rows] for name, array in arrays.items()}
    null = {name: np.zeros(len(rows), bool) for name in taken}
    return Features(np.ones(len(rows), np.uint8), zero, zero, taken, null)


def encoded(topics=TOPICS, users=USER):
    """All videos as candidates of u; the history's topics are those of the candidates."""
    views = {name: features({c: [v] for c, v in row.items()}) for name, row in users.items()}
    views |= {"video_topics": features(topics), "video_statistics": features(STATISTICS)}
    history = [
        *users["user_recent_clicks"]["recent_video_ids"],
        *users["user_recent_skips"]["skipped_video_ids"],
    ]
    request = SimpleNamespace(
        user_id="u",
        video_ids=VIDEOS,
        at_us=NOW,
        epoch=1,
        history=history,
        history_topics=features(topics, np.array([int(v[1:]) for v in history], np.int64)),
    )
    half_life_us = int(SETTINGS.users.half_life.total_seconds() * 1e6)
    return encode_request(request, views, KNOWN, half_life_us=half_life_us, places=PLACES)


def assert_encoded_as_served(topics=TOPICS, users=USER):
    served = encode(as_served(VIDEOS, topics, users), KNOWN, places=PLACES).batch(np.arange(6))
    for name, array in vars(encoded(topics, users)).items():
        expected = getattr(served, name).numpy()
        rows = np.broadcast_to(array, expected.shape)
        np.testing.assert_allclose(rows, expected, rtol=1e-6, atol=1e-6, err_msg=name)
        assert array.dtype == expected.dtype, name
    return served


def test_a_request_is_encoded_as_its_candidates_would_be_as_served():
    served = assert_encoded_as_served()
    assert served.history_mask.sum(1).tolist() == [PLACES] * 6
    assert served.history_clicked[0].tolist() == [False, True, False, True]
    assert served.topic_numbers.abs().sum() > 1


WEIGHTS = st.sampled_from([0.0, 0.3, 0.5, 0.75, 0.9])
"""Alike ones often, so that overlaps of topics fall on the ends of tiers."""


@st.composite
def topic_slots(draw):
    """Topics of six videos: distinct known and unknown ids, two slots in use at most."""
    rows = [draw(st.lists(st.integers(1, 6), max_size=2, unique=True)) for _ in VIDEOS]
    padded = [ids + [-1] * (8 - len(ids)) for ids in rows]
    weights = [[draw(WEIGHTS) for _ in ids] + [0.0] * (8 - len(ids)) for ids in rows]
    parents = [[6 + i % 4 for i in ids] + [-1] * (8 - len(ids)) for ids in rows]
    epochs = [draw(st.sampled_from([1, 1, 1, 2])) for _ in VIDEOS]
    slots = {"topic_ids": padded, "topic_weights": weights, "parent_topic_ids": parents}
    return TOPICS | slots | {"topic_epoch": epochs}


@st.composite
def histories(draw):
    """Clicks and skips of the six videos, at few different times, and topics that a user met."""
    kinds = []
    for _ in range(2):
        ids = draw(st.lists(st.sampled_from(VIDEOS), min_size=1, max_size=6, unique=True))
        kinds.append((ids, sorted(NOW - draw(st.integers(1, 4)) * HOUR for _ in ids)[::-1]))
    (clicked, click_times), (skipped, skip_times) = kinds
    met = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5, unique=True))
    shown = [float(draw(st.integers(0, 9))) for _ in met]
    clicks = [draw(st.integers(0, int(n))) * 1.0 for n in shown]
    expected = [n / 4 for n in shown]
    met_parents = [7, 8], [9.0, 0.0], [1.0, 0.0], [2.0, 0.0]
    levels = ("topic", (met, shown, clicks, expected)), ("parent", met_parents)
    topics = {
        f"user_{level}_{part}": column
        for level, columns in levels
        for part, column in zip(PARTS, columns, strict=True)
    }
    return USER | {
        "user_topics": topics | {"user_topic_epoch": draw(st.sampled_from([1, 1, 2]))},
        "user_recent_clicks": {
            "recent_video_ids": clicked,
            "recent_times": click_times,
            "recent_watch_seconds": [1.0] * len(clicked),
        },
        "user_recent_skips": {
            "skipped_video_ids": skipped,
            "skipped_times": skip_times,
            "skipped_positions": [1] * len(skipped),
        },
    }


PARTS = ("ids", "exposures", "clicks", "expected")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(topic_slots(), histories())
def test_any_request_is_encoded_as_served(topics, users):
    assert_encoded_as_served(topics, users)
