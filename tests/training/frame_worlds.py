"""Small random worlds with ties, late rows and ended values, and their plain frames."""

import random
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from consumers.training import Inputs, ViewRows

WINDOW, LIMIT, NEVER = 4, 3, 10**9


@dataclass
class World:
    """Plain rows.

    Impressions (id, user, video, event, created), clicks (id, event, created), versions (video,
    event, created, value).
    """

    impressions: list
    clicks: list
    topics: list
    statistics: list


def world(seed, *, impressions=60, span=40):
    r = random.Random(seed)
    users, videos = ["u1", "u2", "u3"], [f"v{i}" for i in range(6)]
    shown, clicks = [], []
    for i in range(impressions):
        t = r.randint(0, span)
        shown.append((f"i{i:03}", r.choice(users), r.choice(videos), t, t + r.choice([0, 0, 0, 2])))
        if r.random() < 0.5:
            at = t + r.randint(0, WINDOW + 2)
            clicks.append((f"i{i:03}", at, at + r.choice([0, 0, 0, 1, 9])))
    shown.sort(key=lambda row: (row[3], row[0]))
    r.shuffle(clicks)

    def versions():
        value_of_key = {}
        for n in range(25):
            event = r.randint(0, span)
            value = None if r.random() < 0.15 else n
            value_of_key[r.choice(videos), event, event + r.choice([0, 1, 5])] = value
        rows = [(*key, value) for key, value in value_of_key.items()]
        r.shuffle(rows)
        return rows

    return World(shown, clicks, versions(), versions())


def inputs(w):
    """The world as the frame's inputs; a version's value is its topic id, or its exposures."""
    shown = _columns(w.impressions, "event_id", "user_id", "video_id", "event_us", "created_us")
    clicked = _columns(w.clicks, "event_id", "event_us", "created_us")
    return Inputs.of(
        shown,
        clicked,
        video_topics=_rows(w.topics, _topic_values),
        video_statistics=_rows(w.statistics, _statistics_values),
    )


def _columns(rows, *names):
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _rows(versions, values):
    event, created = (np.array([v[i] for v in versions], np.int64) for i in (1, 2))
    return ViewRows(
        pa.table({"video_id": pa.array([v[0] for v in versions], pa.string())}),
        event,
        created,
        values([v[3] for v in versions]),
    )


def _topic_values(values):
    return pa.table(
        {
            "topic_ids": pa.array(
                [None if v is None else [v] + [-1] * 7 for v in values], pa.list_(pa.int64())
            ),
            "topic_weights": pa.array(
                [None if v is None else [0.5] + [0.0] * 7 for v in values], pa.list_(pa.float32())
            ),
            "topic_epoch": pa.array([None if v is None else 1 for v in values], pa.int64()),
        }
    )


def _statistics_values(values):
    return pa.table(
        {
            "video_exposures": pa.array(values, pa.int64()),
            "video_clicks": pa.array([None if v is None else v // 2 for v in values], pa.int64()),
        }
    )


def value_at(versions, video, t):
    """The value that held at t and was known by t; None: nothing, or it had ended."""
    known = [
        (event, created, value)
        for v, event, created, value in versions
        if v == video and event <= t and created <= t
    ]
    return max(known, key=lambda row: row[:2])[2] if known else None
