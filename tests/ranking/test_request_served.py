"""A request's candidates are encoded as rows of a frame as served at the same time."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch

from consumers.ranking.codes import Vocabulary
from consumers.ranking.inputs import encode
from consumers.ranking.requests import encode_request
from consumers.training.frame import build_frame
from consumers.training.inputs import Inputs, ViewRows
from consumers.training.tallies import Centres
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
SERVED_TOPICS = TOPICS | {"topic_count": [2] * 6, "below_threshold": [False] * 6}
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


def view(keys, columns):
    zero = np.zeros(len(next(iter(columns.values()))), np.int64)
    return ViewRows(pa.table(keys), zero, zero, pa.table(columns))


def as_served(ids):
    """The candidates as impressions of u, each of which sees the rows that a store has."""
    shown = {"event_id": ids, "user_id": ["u"] * len(ids), "video_id": ids}
    shown |= {"event_us": [NOW] * len(ids), "created_us": [NOW] * len(ids)}
    plain = Inputs.of(
        shown,
        {"event_id": [], "event_us": [], "created_us": []},
        video_topics=view({"video_id": VIDEOS}, TOPICS),
        video_statistics=view({"video_id": VIDEOS}, STATISTICS),
    )
    users = {
        name: view({"user_id": ["u"]}, {column: [value] for column, value in row.items()})
        for name, row in USER.items()
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


def test_a_request_is_encoded_as_its_candidates_would_be_as_served():
    """The history's topics are those of the candidates here, as all videos are candidates."""
    views = {name: features({c: [v] for c, v in row.items()}) for name, row in USER.items()}
    views |= {"video_topics": features(SERVED_TOPICS), "video_statistics": features(STATISTICS)}
    skips = USER["user_recent_skips"]["skipped_video_ids"]
    history = [*USER["user_recent_clicks"]["recent_video_ids"], *skips]
    request = SimpleNamespace(
        user_id="u",
        video_ids=VIDEOS,
        at_us=NOW,
        epoch=1,
        history=history,
        history_topics=features(SERVED_TOPICS, np.array([int(video[1:]) for video in history])),
    )
    half_life_us = int(SETTINGS.users.half_life.total_seconds() * 1e6)
    online = encode_request(request, views, KNOWN, half_life_us=half_life_us, places=PLACES).batch(
        np.arange(6)
    )
    served = encode(as_served(VIDEOS), KNOWN, places=PLACES).batch(np.arange(6))
    for name, tensor in vars(online).items():
        torch.testing.assert_close(tensor, getattr(served, name), rtol=1e-6, atol=1e-6, msg=name)
    assert served.history_mask.sum(1).tolist() == [PLACES] * 6
    assert served.history_clicked[0].tolist() == [False, True, False, True]
    assert served.topic_numbers.abs().sum() > 1
