"""A request's features as a frame, so that serving encodes by the code that training does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.retrieval.recall import Candidates
from consumers.training.frame import Frame
from consumers.training.log import Log, Windows
from consumers.training.tallies import Served, Slots
from consumers.training.versions import Versions
from vidtopics.contracts import TOPIC_SLOTS
from vidtopics.online import Features
from vidtopics.tables import FOREVER

Views = Mapping[str, Features]
STATISTICS = ("user_exposures", "user_clicks", "user_expected_clicks")
DECAYED = ("user_decayed_exposures", "user_decayed_clicks", "user_decayed_expected")
SLOTS = ("topic_ids", "topic_weights", "parent_topic_ids")


class History(NamedTuple):
    """Earlier impressions of the user, oldest first: ids, when they were shown, which were clicked.

    A click's time stands for its impression's, which the store doesn't have.
    """

    videos: list[str]
    shown_us: NDArray[np.int64]
    clicked: NDArray[np.bool_]


def request_frame(
    candidates: Candidates, features: Views, *, half_life_us: int, places: int
) -> Frame:
    """The candidates as a frame of N rows at `candidates.at_us`, without labels or positions.

    Views that weren't read, and rows that aren't present, count as nothing known.

    Args:
        candidates: N videos of one user, and the topics of the clicks.
        features: views by name: N rows of entity `video`, one row of entity `user`.
        half_life_us: `users.half_life` of the model.
        places: entries of the history at most.
    """
    ids, at_us = candidates.video_ids, candidates.at_us
    past = history_of(candidates, features, places)
    videos = pa.array(dict.fromkeys([*ids, *past.videos, *candidates.clicks]), pa.string())
    place_of = {video: place for place, video in enumerate(videos.to_pylist())}
    topics, rows = _topics(place_of, candidates, features)
    place = np.array([place_of[video] for video in ids], np.int32)
    n, entries = len(ids), len(past.videos)
    known = np.zeros(n, np.int64)
    return Frame(
        impressions=_impressions(candidates.user_id, ids, at_us),
        clicked=np.zeros(n, bool),
        counts=_counts(features.get("video_statistics"), n),
        published_us=_published(features.get("video_catalog"), n),
        state=_state(features, n, at_us, half_life_us),
        video=place,
        topic_row=rows[place].astype(np.int32),
        videos=videos,
        topics=topics,
        log=_log(past, place_of),
        windows=Windows(known, np.full(n, entries), np.full(n, at_us)),
        content_us=np.full(n, at_us),
        versions=Versions.constant(rows),
    )


def history_of(candidates: Candidates, features: Views, places: int) -> History:
    """The newest `places` clicks and skips together; without the views, the clicks of recall.

    Clicks whose time isn't known count as of now.
    """
    clicks = _lists(features, "user_recent_clicks", ("recent_video_ids", "recent_times"))
    skips = _lists(features, "user_recent_skips", ("skipped_video_ids", "skipped_times"))
    if clicks is None:
        clicks = candidates.clicks, [candidates.at_us] * len(candidates.clicks)
    videos, times = (
        [*of_clicks, *of_skips]
        for of_clicks, of_skips in zip(clicks, skips or ([], []), strict=True)
    )
    clicked = np.arange(len(videos)) < len(clicks[0])
    shown_us = np.array(times, np.int64)
    newest = np.argsort(-shown_us, kind="stable")[:places][::-1]
    return History([videos[i] for i in newest], shown_us[newest], clicked[newest])


def _lists(
    features: Views, view: str, names: tuple[str, str]
) -> tuple[Sequence[str], Sequence[int]] | None:
    """Two lists of the user's row of a view; None where it wasn't read, or isn't there."""
    rows = features.get(view)
    if rows is None or not rows.present[0] or any(rows[name][0] is None for name in names):
        return None
    videos, times = (cast("Any", rows[name][0]) for name in names)
    return list(videos), [int(time) for time in times]


def _topics(
    place_of: Mapping[str, int], candidates: Candidates, features: Views
) -> tuple[pa.Table, NDArray[np.int64]]:
    """Rows of `video_topics` of candidates and clicks, and the row of each video; -1: none."""
    rows = np.full(len(place_of), -1)
    parts = [(candidates.video_ids, features["video_topics"])]
    parts.insert(0, (list(candidates.clicks), candidates.history_topics))
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in (*SLOTS, "topic_epoch")}
    start = 0
    for ids, topics in parts:
        of_epoch = topics.present & (np.asarray(topics["topic_epoch"]) == candidates.epoch)
        for row in np.flatnonzero(of_epoch):
            rows[place_of[ids[row]]] = start + row
        start += len(ids)
        for name, column in columns.items():
            column.append(np.asarray(topics[name]))
    ends = pa.array(np.arange(start + 1) * TOPIC_SLOTS, pa.int32())
    table = {
        name: pa.ListArray.from_arrays(ends, pa.array(np.concatenate(columns[name]).reshape(-1)))
        for name in SLOTS
    }
    epochs = pa.array(np.concatenate(columns["topic_epoch"]).astype(np.int64))
    return pa.table({**table, "topic_epoch": epochs}), rows


def _impressions(user_id: str, ids: Sequence[str], at_us: int) -> pa.Table:
    n = len(ids)
    return pa.table(
        {
            "user_id": pa.array([user_id] * n, pa.string()),
            "video_id": pa.array(ids, pa.string()),
            "position": pa.nulls(n, pa.int32()),
            "event_us": pa.array([at_us] * n, pa.int64()),
        }
    )


def _counts(statistics: Features | None, n: int) -> NDArray[np.float64]:
    counts = np.full((n, 2), np.nan)
    if statistics is not None:
        present = statistics.present
        for column, name in enumerate(("video_exposures", "video_clicks")):
            counts[present, column] = np.asarray(statistics[name], np.float64)[present]
    return counts


def _published(catalogue: Features | None, n: int) -> NDArray[np.float64]:
    published = np.full(n, np.nan)
    if catalogue is not None:
        present = catalogue.present
        published[present] = np.asarray(catalogue["published_at"], np.float64)[present]
    return published


def _state(features: Views, n: int, at_us: int, half_life_us: int) -> Served:
    statistics, topics = features.get("user_statistics"), features.get("user_topics")
    values = np.zeros(6)
    if statistics is not None and statistics.present[0]:
        last_us = float(cast("Any", statistics["user_decayed_at"][0]))
        decay = 0.5 ** (max(at_us - last_us, 0) / half_life_us)
        counts = [float(cast("Any", statistics[name][0])) for name in STATISTICS]
        values[:] = counts + [float(cast("Any", statistics[name][0])) * decay for name in DECAYED]
    has_topics = topics is not None and bool(topics.present[0])
    levels = [_level(topics if has_topics else None, kind) for kind in ("topic", "parent")]
    epoch = int(cast("Any", topics["user_topic_epoch"][0])) if topics and has_topics else -1
    row = np.full(n, 0 if has_topics else -1)
    return Served(np.tile(values, (n, 1)), row, (levels[0], levels[1]), np.array([epoch]))


def _level(topics: Features | None, kind: str) -> Slots:
    if topics is None:
        return Slots(np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))
    ids, *counts = (
        np.asarray(topics[f"user_{kind}_{name}"][0], np.float64)
        for name in ("ids", "exposures", "clicks", "expected")
    )
    return Slots(np.array([0, len(ids)]), ids.astype(np.int64), np.stack(counts, 1))


def _log(past: History, place_of: Mapping[str, int]) -> Log:
    n, shown = len(past.videos), past.shown_us
    clicked_us = np.where(past.clicked, shown, FOREVER)
    return Log(
        user=np.zeros(n, np.int32),
        video=np.array([place_of[video] for video in past.videos], np.int32),
        shown_us=shown,
        known_us=shown,
        clicked_us=clicked_us,
        click_us=np.where(past.clicked, shown, 0),
        watch_seconds=np.full(n, np.nan, np.float32),
        position=np.zeros(n, np.int32),
    )
