"""The training frame: impressions with label, features and the user's state, as they were known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.encoding.topics import Centres, TopicRows, TopicSums
from consumers.training.inputs import Inputs, ViewRows
from consumers.training.labels import label
from consumers.training.log import Log, Windows, build_log, expected_clicks, video_counts, windows
from consumers.training.replay import Replay
from consumers.training.served import Entries, counts_of, merged, states
from consumers.training.versions import Versions
from vidtopics.contracts import (
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.settings import Settings
from vidtopics.tables import FOREVER

TopicsOf = Literal["as known", "all tags"]
"""Topics as known at each impression, or those of the last release for every row.

The latter are static content, made with all tags.
"""


_REQUEST = ("user_id", "request_id")


class State(Protocol):
    """What is known of each row's user: :class:`Replay`, or rows of the user's views."""

    @property
    def statistics(self) -> NDArray[np.float64]:
        """float64[N, 6]: exposures, clicks, expected clicks, and the same three decayed."""

    def topic_sums(
        self, candidate: NDArray[np.int32], topics: TopicRows, centres: Centres
    ) -> TopicSums:
        """What the user's topics say of each candidate, by its row of `topics` (-1: none)."""


@dataclass(frozen=True, eq=False)
class Frame:
    """N impressions; in the log's order where they come from one.

    Attributes:
        impressions: event_id, user_id, video_id, position, event_us.
        clicked: bool[N], the label.
        counts: float64[N, 2], the video's exposures and clicks; NaN where nothing was known.
        published_us: float64[N], when the video was published, NaN where unknown.
        state: the users' counts.
        video: int32[N], places in `videos`.
        topic_row: int32[N], rows of `topics`; -1: none.
        videos: ids of all videos of the log.
        topics: the values of feature view `video_topics`, every row that it ever had.
        log: earlier impressions, and windows into it.
        windows: N of them.
        content_us: int64[N], by when topics of the history are those known.
        versions: the topics' row of each video at any time.
    """

    impressions: pa.Table
    clicked: NDArray[np.bool_]
    counts: NDArray[np.float64]
    published_us: NDArray[np.float64]
    state: State
    video: NDArray[np.int32]
    topic_row: NDArray[np.int32]
    videos: pa.Array
    topics: pa.Table
    log: Log
    windows: Windows
    content_us: NDArray[np.int64]
    versions: Versions

    def __len__(self) -> int:
        return len(self.clicked)

    @property
    def shown_us(self) -> NDArray[np.int64]:
        """int64[N], when each was shown."""
        times: NDArray[np.int64] = self.impressions["event_us"].to_numpy()
        return times

    @property
    def positions(self) -> NDArray[np.float64]:
        """float64[N], the place in the refresh, NaN where unknown."""
        positions = self.impressions["position"].cast(pa.float64()).fill_null(np.nan)
        array: NDArray[np.float64] = positions.to_numpy()
        return array


def build_frame(
    inputs: Inputs, settings: Settings, *, as_of_us: int, topics: TopicsOf = "as known"
) -> Frame:
    """The impressions whose label window has closed as of a time, in the order of `inputs`.

    All that stands beside an impression was known strictly before the first impression of its
    request: a request's videos are ranked at once, and see nothing of each other.

    Inputs as known: topics by their created times, counts and histories by a replay of the log.
    Inputs as served: the rows of the views that the live release had.

    >>> clicked = {"event_id": ["i1"], "event_us": [5], "created_us": [5], "watch_seconds": [9.0]}
    >>> shown = {"event_id": ["i1", "i2"], "user_id": ["u", "u"], "video_id": ["v", "w"]}
    >>> shown |= {"event_us": [4, 6], "created_us": [4, 6], "position": [1, 2]}
    >>> one = build_frame(Inputs.of(shown, clicked), Settings(), as_of_us=FOREVER)
    >>> one.clicked.tolist(), one.state.statistics[:, :2].tolist()
    ([True, False], [[0.0, 0.0], [1.0, 1.0]])
    """
    window_us = settings.ranking.label_window // timedelta(microseconds=1)
    labels = label(inputs.impressions, inputs.clicks, window_us=window_us, as_of_us=as_of_us)
    rows = np.flatnonzero(labels.closed)
    impressions = inputs.impressions.take(pa.array(rows)).combine_chunks()
    shown_us = impressions["event_us"].to_numpy()
    seen_us = request_starts(inputs.impressions)[rows]
    content_us = seen_us if topics == "as known" else np.full(len(rows), FOREVER)
    users = _as_known if inputs.known == "as known" else _as_served
    known = users(inputs, settings, impressions, seen_us, topics)
    video = pc.index_in(impressions["video_id"], value_set=known.videos).to_numpy()
    topic_rows = inputs.views[VIDEO_TOPICS.name]
    versions = Versions.of(topic_rows, known.videos)
    return Frame(
        impressions,
        labels.clicked[rows],
        known.counts,
        _published(inputs.catalogue, impressions, shown_us),
        known.state,
        video.astype(np.int32),
        versions.at(video.astype(np.int32), content_us),
        known.videos,
        topic_rows.values,
        known.log,
        known.windows,
        content_us,
        versions,
    )


def request_starts(impressions: pa.Table) -> NDArray[np.int64]:
    """int64[N], when each impression's request began; its own time where it has none.

    >>> rows = {"user_id": ["u", "u", "w", "u"], "request_id": ["a", "a", "a", None]}
    >>> request_starts(pa.table(rows | {"event_us": [5, 3, 9, 4]})).tolist()
    [3, 3, 9, 4]
    """
    times_us = impressions["event_us"].to_numpy()
    user, request = (
        impressions[name].combine_chunks().dictionary_encode().indices for name in _REQUEST
    )
    has_request = pc.is_valid(request).to_numpy(zero_copy_only=False)
    key = user.to_numpy().astype(np.int64) * (len(times_us) + 1)
    key = key[has_request] + request.drop_null().to_numpy()
    _, place = np.unique(key, return_inverse=True)
    first = np.full(len(key), FOREVER)
    np.minimum.at(first, place, times_us[has_request])
    starts: NDArray[np.int64] = times_us.copy()
    starts[has_request] = first[place]
    return starts


class _Known(NamedTuple):
    """What is known of N rows: counts of their videos, states and histories of their users."""

    counts: NDArray[np.float64]
    state: State
    videos: pa.Array
    log: Log
    windows: Windows


def _as_known(
    inputs: Inputs,
    settings: Settings,
    rows: pa.Table,
    times_us: NDArray[np.int64],
    topics: TopicsOf,
) -> _Known:
    """By a replay of the log to each row's time."""
    users, videos = (pc.unique(inputs.impressions[n]).sort() for n in ("user_id", "video_id"))
    log = build_log(inputs.impressions, inputs.clicks, videos, users)
    user, video = (
        pc.index_in(rows[name], value_set=ids).to_numpy().astype(np.int32)
        for name, ids in (("user_id", users), ("video_id", videos))
    )
    versions = Versions.of(inputs.views[VIDEO_TOPICS.name], videos)
    state = Replay(
        log,
        expected_clicks(log, prior_exposures=settings.statistics.prior_exposures),
        user,
        times_us,
        versions if topics == "as known" else versions.last(),
        settings.users.half_life // timedelta(microseconds=1),
        (settings.users.topics, settings.users.parents),
    )
    history = windows(log, user, times_us, limit=settings.ranking.history)
    return _Known(video_counts(log, video, times_us), state, videos, log, history)


def _as_served(
    inputs: Inputs,
    settings: Settings,
    rows: pa.Table,
    times_us: NDArray[np.int64],
    topics: TopicsOf,
) -> _Known:
    """By the rows of the views that the live release had at each row's time."""
    keys = rows.select(["user_id"])
    at = {name: view.known(keys, times_us) for name, view in inputs.users.items()}
    values = {name: view.values for name, view in inputs.users.items()}
    clicks = Entries.clicked(values[USER_RECENT_CLICKS.name])
    skips = Entries.skipped(values[USER_RECENT_SKIPS.name])
    shown = inputs.impressions["video_id"].combine_chunks()
    videos = pc.unique(pa.concat_arrays([shown, clicks.videos, skips.videos])).sort()
    log, history = merged(
        clicks,
        skips,
        at[USER_RECENT_CLICKS.name],
        at[USER_RECENT_SKIPS.name],
        times_us,
        videos,
        limit=settings.ranking.history,
    )
    state = states(values, at, times_us, settings.users.half_life)
    statistics = inputs.views[VIDEO_STATISTICS.name]
    row = statistics.known(rows.select(["video_id"]), times_us)
    counts = counts_of(statistics.values.take(pa.array(row, mask=row < 0)))
    return _Known(counts, state, videos, log, history)


def _published(
    catalogue: ViewRows, impressions: pa.Table, times_us: NDArray[np.int64]
) -> NDArray[np.float64]:
    """float64[N], publication as the catalogue had it at each time, in microseconds; NaN: none."""
    at = catalogue.known(impressions.select(["video_id"]), times_us)
    times = catalogue.values["published_at"].cast(pa.int64()).take(pa.array(at, mask=at < 0))
    published: NDArray[np.float64] = times.cast(pa.float64()).fill_null(np.nan).to_numpy()
    return published
