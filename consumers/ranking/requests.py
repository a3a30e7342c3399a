"""A request's features as a frame of its candidates: what serving encodes, as training does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.training.frame import Frame
from consumers.training.inputs import USER_VIEWS
from consumers.training.served import Entries, counts_of, merged, states
from consumers.training.versions import Versions
from vidtopics.contracts import (
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.online import Features
from vidtopics.tables.schemas import arrow_schema


class Request(Protocol):
    """One user's candidates, as recall gives them.

    Attributes:
        user_id: who for.
        video_ids: N candidates.
        at_us: when the request was made; ages and decays are taken to this time.
        history: recently clicked videos, and behind them skipped ones.
        history_topics: feature view `video_topics` of `history`.
    """

    @property
    def user_id(self) -> str: ...  # noqa: D102
    @property
    def video_ids(self) -> list[str]: ...  # noqa: D102
    @property
    def at_us(self) -> int: ...  # noqa: D102
    @property
    def history(self) -> list[str]: ...  # noqa: D102
    @property
    def history_topics(self) -> Features: ...  # noqa: D102


class TopicsOf(NamedTuple):
    """Videos and their rows of feature view `video_topics`."""

    video_ids: Sequence[str]
    topics: Features


def request_frame(
    request: Request,
    features: Mapping[str, Features],
    *,
    half_life_us: int,
    places: int,
) -> Frame:
    """A frame of the N candidates, without labels, positions and ages.

    What isn't present, whatever its status says why, is as what training found nothing known of. A
    video of the history whose topics nobody read has none.

    Args:
        request: who asks for what.
        features: feature views by name, a row for each candidate in those of entity `video`, one
            row in those of entity `user`; a user view that isn't there is as one without a row.
        half_life_us: `users.half_life` of the training.
        places: the longest history.
    """
    n = len(request.video_ids)
    user = {view.name: _rows(features.get(view.name), view, 1) for view in USER_VIEWS}
    clicks, skipped = (
        of_rows(user[view.name]) if view.name in features else Entries.empty()
        for view, of_rows in (
            (USER_RECENT_CLICKS, Entries.clicked),
            (USER_RECENT_SKIPS, Entries.skipped),
        )
    )
    read = (
        TopicsOf(request.history, request.history_topics),
        TopicsOf(request.video_ids, features[VIDEO_TOPICS.name]),
    )
    topics = pa.concat_tables(
        _rows(part.topics, VIDEO_TOPICS, len(part.video_ids)) for part in read
    )
    of_row = pa.array([i for part in read for i in part.video_ids], pa.string())
    videos = pc.unique(pa.concat_arrays([of_row, clicks.videos, skipped.videos]))
    first, times_us = np.zeros(n, np.int64), np.full(n, request.at_us)
    log, windows = merged(clicks, skipped, first, first, times_us, videos, limit=places)
    rows = {view.name: first for view in USER_VIEWS}
    statistics = _rows(features.get(VIDEO_STATISTICS.name), VIDEO_STATISTICS, n)
    row_of_video = pc.index_in(videos, value_set=of_row).fill_null(-1).to_numpy().astype(np.int64)
    return Frame(
        impressions=pa.table(
            {
                "user_id": pa.array([request.user_id] * n, pa.string()),
                "video_id": pa.array(request.video_ids, pa.string()),
                "position": pa.nulls(n, pa.int32()),
                "event_us": times_us,
            }
        ),
        clicked=np.zeros(n, bool),
        counts=counts_of(statistics),
        published_us=np.full(n, np.nan),
        state=states(user, rows, times_us, timedelta(microseconds=half_life_us)),
        video=pc.index_in(pa.array(request.video_ids, pa.string()), value_set=videos)
        .to_numpy()
        .astype(np.int32),
        topic_row=np.arange(len(of_row) - n, len(of_row), dtype=np.int32),
        videos=videos,
        topics=topics,
        log=log,
        windows=windows,
        content_us=times_us,
        versions=Versions.constant(row_of_video),
    )


def _rows(features: Features | None, view: Table, n: int) -> pa.Table:
    """N rows of a view as the tables have them: null where a value isn't present."""
    schema = arrow_schema(view, view.values)
    if features is None:
        return pa.table({f.name: pa.nulls(n, f.type) for f in schema})
    columns = {
        f.name: pa.array(_plain(features[f.name]), f.type, mask=~features.present)
        for f in schema
        if f.name in features.columns  # a store may be of before a column
    }
    return pa.table(columns)


def _plain(values: NDArray[Any]) -> NDArray[Any] | list[Any]:
    """Values as `pa.array` takes them: lists of numbers are the rows of a matrix."""
    return list(values) if values.ndim > 1 else values
