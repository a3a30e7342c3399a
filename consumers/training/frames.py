"""The training frame: impressions with label, features and user history, as they were known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.training.frame import TopicsOf
from consumers.training.histories import Histories, histories, of_impressions
from consumers.training.inputs import Inputs, ViewRows
from consumers.training.labels import label
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.settings import Settings
from vidtopics.tables import FOREVER

CHUNK_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Frame:
    """N impressions in the log's order, with Q different histories of E videos in all.

    Attributes:
        impressions: event_id, user_id, video_id, event_us, created_us.
        clicked: bool[N], the label.
        features: the columns of `training_v1`; null where nothing was known, or where the value had
            ended.
        history: int64[N], the history of each impression's user.
        offsets: int64[Q + 1], where each history begins.
        history_videos: int32[E], places in `videos`, newest click first.
        history_topics: int64[E], rows of `topics` as known at that time; -1: none.
        videos: all video ids of the log.
        topics: the values of feature view `video_topics`, every row that it ever had.
    """

    impressions: pa.Table
    clicked: NDArray[np.bool_]
    features: pa.Table
    history: NDArray[np.int64]
    offsets: NDArray[np.int64]
    history_videos: NDArray[np.int32]
    history_topics: NDArray[np.int64]
    videos: pa.Array
    topics: pa.Table

    def __len__(self) -> int:
        return len(self.clicked)

    def recent(self, row: int) -> list[str]:
        """The history of one impression: video ids, newest click first."""
        first, end = self.offsets[self.history[row] :][:2]
        ids: list[str] = self.videos.take(pa.array(self.history_videos[first:end])).to_pylist()
        return ids


def frames(
    inputs: Inputs,
    settings: Settings,
    *,
    as_of_us: int,
    topics: TopicsOf = "as known",
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[Frame]:
    """Frames of the impressions whose label window has closed as of a time.

    Features hold at the impression's time and were known by then; histories end strictly before it.
    Rows come in the order of `inputs.impressions`, whatever `chunk_rows` is, which bounds the
    memory of the join: a chunk has `chunk_rows` * N_1 videos of histories at most.

    >>> clicked = {"event_id": ["i1"], "event_us": [5], "created_us": [5], "watch_seconds": [9.0]}
    >>> shown = {"event_id": ["i1", "i2"], "user_id": ["u", "u"], "video_id": ["v", "w"]}
    >>> shown |= {"event_us": [4, 6], "created_us": [4, 6], "position": [1, 2]}
    >>> inputs = Inputs.of(shown, clicked)
    >>> frame, = frames(inputs, Settings(), as_of_us=FOREVER)
    >>> frame.clicked.tolist(), frame.recent(0), frame.recent(1)
    ([True, False], [], ['v'])
    """
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    labels = label(inputs.impressions, inputs.clicks, window_us=window_us, as_of_us=as_of_us)
    videos = pc.unique(inputs.impressions["video_id"]).sort()
    clicks = of_impressions(inputs.impressions, inputs.clicks, videos)
    recent = histories(clicks, limit=settings.recall.recent_clicks)
    rows = np.flatnonzero(labels.closed)
    for start in range(0, len(rows), chunk_rows):
        chosen = rows[start : start + chunk_rows]
        impressions = inputs.impressions.take(pa.array(chosen))
        shown_us = impressions["event_us"].to_numpy()
        content_us = shown_us if topics == "as known" else np.full(len(chosen), FOREVER)
        times = {
            name: content_us if name == VIDEO_TOPICS.name else shown_us for name in inputs.views
        }
        yield Frame(
            impressions,
            labels.clicked[chosen],
            _features(inputs.views, impressions, times),
            *_histories(recent, impressions, content_us, videos, inputs.views[VIDEO_TOPICS.name]),
            videos,
            inputs.views[VIDEO_TOPICS.name].values,
        )


def _features(
    views: Mapping[str, ViewRows], impressions: pa.Table, times: Mapping[str, NDArray[np.int64]]
) -> pa.Table:
    columns: dict[str, pa.ChunkedArray] = {}
    for name, rows in views.items():
        at = rows.known(impressions.select(rows.keys.column_names), times[name])
        columns |= dict(
            zip(
                rows.values.column_names,
                rows.values.take(pa.array(at, mask=at < 0)).columns,
                strict=True,
            )
        )
    return pa.table(columns)


def _histories(
    recent: Histories,
    impressions: pa.Table,
    content_us: NDArray[np.int64],
    videos: pa.Array,
    topics: ViewRows,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """`history`, `offsets`, `history_videos`, `history_topics` of a frame.

    Impressions share what is the same for them: the user's clicks so far, and the instants between
    which no topic changes.
    """
    instants = topics.instants
    epoch = np.searchsorted(instants, content_us, side="right")
    state_of_impression = recent.at(
        impressions.select(["user_id"]), impressions["event_us"].to_numpy()
    )
    kinds, history = np.unique(
        state_of_impression * (len(instants) + 1) + epoch, return_inverse=True
    )
    state, seen = np.divmod(kinds, len(instants) + 1)
    lengths = np.diff(recent.offsets)[state]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    entries = np.arange(offsets[-1]) + np.repeat(recent.offsets[state] - offsets[:-1], lengths)
    clicked = recent.videos[entries]
    return (
        history,
        offsets,
        clicked,
        _topic_rows(topics, instants, clicked, np.repeat(seen, lengths), videos),
    )


def _topic_rows(
    topics: ViewRows,
    instants: NDArray[np.int64],
    clicked: NDArray[np.int32],
    seen: NDArray[np.int64],
    videos: pa.Array,
) -> NDArray[np.int64]:
    """int64[E]: the topics' row of each clicked video after `seen` of the instants.

    Each different pair is joined once.
    """
    pairs = pa.array(clicked.astype(np.int64) * (len(instants) + 1) + seen).dictionary_encode()
    video, after = np.divmod(pairs.dictionary.to_numpy(), len(instants) + 1)
    times = np.concatenate([[-FOREVER], instants])[
        after
    ]  # before the first instant nothing is known
    keys = pa.table({topics.keys.column_names[0]: videos.take(pa.array(video))})
    at: NDArray[np.int64] = topics.known(keys, times)[pairs.indices.to_numpy()]
    return at
