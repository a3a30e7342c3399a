"""A request's features in the encoding that training has.

No Arrow tables and no hash table of all ids for each request: six hundred candidates of one user
are a few arrays (docs/adr/0052); nor compiled loops, so that the HTTP service needs no compiler
(docs/adr/0062).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from consumers.encoding.histories import History, MetTopics, topic_sums, window_counts
from consumers.encoding.numbers import numbers, topic_numbers
from consumers.encoding.topics import Centres, TopicRows, TopicSums
from consumers.encoding.users import DECAYED_AT, STATISTICS, decayed_statistics
from consumers.encoding.vocabulary import Vocabulary
from vidtopics.contracts import (
    TOPIC_SLOTS,
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    USER_STATISTICS,
    USER_TOPICS,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.online import Features

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Number = TypeVar("Number", bound=np.generic)
COUNTS = ("exposures", "clicks", "expected")


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


@dataclass(frozen=True, eq=False)
class Encoded:
    """N candidates of one user as a model reads them; H places of history, newest first.

    Attributes:
        user: int64[N], codes, 0 unknown.
        video: int64[N], likewise.
        numbers: float32[N, F].
        topic_numbers: float32[N, G].
        topics: int64[N, 8], codes, 0 none.
        topic_weights: float32[N, 8].
        parents: int64[N, 8].
        history_videos: int64[1, H], codes, 0 unknown or none.
        history_clicked: bool[1, H].
        history_ages: float32[1, H], log(1 + hours).
        history_topics: int64[1, H, 8].
        history_weights: float32[1, H, 8].
        history_parents: int64[1, H, 8].
        history_mask: bool[1, H], true where there is an impression.
    """

    user: Ints
    video: Ints
    numbers: Floats
    topic_numbers: Floats
    topics: Ints
    topic_weights: Floats
    parents: Ints
    history_videos: Ints
    history_clicked: NDArray[np.bool_]
    history_ages: Floats
    history_topics: Ints
    history_weights: Floats
    history_parents: Ints
    history_mask: NDArray[np.bool_]


class Places:
    """Numbers of videos in the order in which they are first named."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, ids: Sequence[str]) -> NDArray[np.int32]:
        """int32[N], new ids counted on."""
        numbers = self.numbers
        return np.array([numbers.setdefault(i, len(numbers)) for i in ids], np.int32)


def encode_request(
    request: Request,
    features: Mapping[str, Features],
    known: Vocabulary,
    *,
    half_life_us: int,
    places: int,
) -> Encoded:
    """The N candidates as rows of training without labels, positions and ages.

    What isn't present, whatever its status says why, is as what training found nothing known of. A
    video of the history whose topics nobody read has none.

    Args:
        request: who asks for what.
        features: feature views by name, a row for each candidate in those of entity `video`, one
            row in those of entity `user`; a user view that isn't there is as one without a row.
        known: what the model's codes, centres and means are.
        half_life_us: `users.half_life` of the training.
        places: the longest history.
    """
    n, videos = len(request.video_ids), Places()
    parts = (request.history_topics, features[VIDEO_TOPICS.name])
    topics = _topic_rows(parts, known.centres)
    of_row = videos.of([*request.history, *request.video_ids])
    rows = slice(len(of_row) - n, len(of_row))
    history = _history(features, videos, of_row, request.at_us, places)
    windows = window_counts(history, of_row[rows], rows, topics)
    sums, unknown = _topic_sums(features, rows, topics, known.centres), np.full(n, np.nan)
    half_life = timedelta(microseconds=half_life_us)
    return Encoded(
        np.full(n, known.user_codes.get(request.user_id, 0)),
        _codes_of(request.video_ids, known),
        numbers(
            known,
            counts=_counts(features.get(VIDEO_STATISTICS.name), n),
            statistics=_statistics(features, n, request.at_us, half_life),
            windows=windows,
            published_us=unknown,
            shown_us=np.full(n, request.at_us),
            positions=unknown,
        ),
        topic_numbers(sums, windows),
        topics.codes[rows].astype(np.int64),
        topics.weights[rows],
        topics.parents[rows].astype(np.int64),
        *_padded(history, list(videos.numbers), topics, known, request.at_us, places),
    )


def _codes_of(ids: Sequence[str], known: Vocabulary) -> Ints:
    codes = known.video_codes
    return np.array([codes.get(video, 0) for video in ids], np.int64)


def _padded(
    history: History,
    names: list[str],
    topics: TopicRows,
    known: Vocabulary,
    at_us: int,
    places: int,
) -> tuple[NDArray[Any], ...]:
    """The history's arrays of :class:`Encoded`."""
    video, times_us, clicked, row = (part[::-1] for part in history)
    in_row = row[:, None] >= 0
    columns: list[NDArray[np.generic]] = [
        _codes_of([names[number] for number in video.tolist()], known),
        clicked,
        np.log1p((at_us - times_us) / 3.6e9).astype(np.float32),
        *(
            np.where(in_row, part[row], 0).astype(kind)
            for part, kind in (
                (topics.codes, np.int64),
                (topics.weights, np.float32),
                (topics.parents, np.int64),
            )
        ),
        np.ones(len(video), bool),
    ]
    return tuple(_to_places(column, places) for column in columns)


def _to_places(column: NDArray[np.generic], places: int) -> NDArray[np.generic]:
    """[1, H, ...], zero behind the column."""
    padded = np.zeros((1, places, *column.shape[1:]), column.dtype)
    padded[0, : len(column)] = column
    return padded


def _topic_rows(parts: Sequence[Features], centres: Centres) -> TopicRows:
    """Of the rows of all parts; one that isn't present is as of another epoch."""
    ids, weights, parents = (
        np.concatenate([_slots(part, name, pad) for part in parts])
        for name, pad in (("topic_ids", -1), ("topic_weights", 0), ("parent_topic_ids", -1))
    )
    epochs = [np.where(part.present, part["topic_epoch"], -1) for part in parts]
    return TopicRows.of_slots(
        ids.astype(np.int64),
        weights.astype(np.float32),
        parents.astype(np.int64),
        np.concatenate(epochs),
        centres,
    )


def _slots(rows: Features, name: str, pad: int) -> NDArray[np.generic]:
    """[R, 8] of a column; padding where the store is of before it."""
    return rows[name] if name in rows.columns else np.full((len(rows), TOPIC_SLOTS), pad)


def _counts(statistics: Features | None, n: int) -> NDArray[np.float64]:
    """float64[N, 2], exposures and clicks of each candidate; NaN where nothing is known."""
    if statistics is None:
        return np.full((n, 2), np.nan)
    columns = [statistics[name] for name in ("video_exposures", "video_clicks")]
    counts = np.stack(columns, axis=1).astype(np.float64)
    counts[~statistics.present] = np.nan
    return counts


def _statistics(
    features: Mapping[str, Features], n: int, at_us: int, half_life: timedelta
) -> NDArray[np.float64]:
    """float64[N, 6]: the user's counts as of the request, for each candidate."""
    counts, since_us = np.zeros((1, len(STATISTICS))), np.array([at_us])
    statistics = _present(features, USER_STATISTICS.name)
    if statistics is not None:
        counts = np.array([[float(cast("float", statistics[name][0])) for name in STATISTICS]])
        since_us = np.array([statistics[DECAYED_AT][0]], np.int64)
    own = decayed_statistics(counts, since_us, np.array([at_us]), half_life)
    return np.broadcast_to(own, (n, own.shape[1]))


def _topic_sums(
    features: Mapping[str, Features], rows: slice, topics: TopicRows, centres: Centres
) -> TopicSums:
    """What the user's topics say of the candidates; nothing where they are of another epoch."""
    met = _present(features, USER_TOPICS.name)
    if met is None or met["user_topic_epoch"][0] != centres.epoch:
        return TopicSums.empty(rows.stop - rows.start)
    levels = _level(met, "user_topic"), _level(met, "user_parent")
    return topic_sums(levels, rows, topics, centres)


def _level(met: Features, prefix: str) -> MetTopics:
    """The user's topics, or parents."""
    counts = [_list(met, f"{prefix}_{name}", np.float64) for name in COUNTS]
    return MetTopics(_list(met, f"{prefix}_ids", np.int64), np.stack(counts, 1))


def _history(
    features: Mapping[str, Features],
    videos: Places,
    of_row: NDArray[np.int32],
    at_us: int,
    places: int,
) -> History:
    """The newest clicks and skips by time; of one time clicks are newer."""
    clicks = _entries(features, USER_RECENT_CLICKS.name, "recent_video_ids", "recent_times", videos)
    skips = _entries(features, USER_RECENT_SKIPS.name, "skipped_video_ids", "skipped_times", videos)
    video = np.concatenate([clicks[0], skips[0]])
    times_us = np.concatenate([clicks[1], skips[1]])
    clicked = np.arange(len(video)) < len(clicks[0])
    order = np.lexsort((clicked, times_us))[max(len(video) - places, 0) :]
    order = order[times_us[order] <= at_us]
    row_of_video = np.full(len(videos.numbers), -1)
    row_of_video[of_row[::-1]] = np.arange(len(of_row))[::-1]  # of equal ones the first
    return History(video[order], times_us[order], clicked[order], row_of_video[video[order]])


def _entries(
    features: Mapping[str, Features], view: str, ids: str, times: str, videos: Places
) -> tuple[NDArray[np.int32], Ints]:
    """Videos and times of a list of the user's."""
    rows = _present(features, view)
    if rows is None:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    return videos.of(cast("list[str]", rows[ids][0])), _list(rows, times, np.int64)


def _present(features: Mapping[str, Features], view: str) -> Features | None:
    """The only row of a user's view; None where there is none."""
    rows = features.get(view)
    return rows if rows is not None and rows.present[0] else None


def _list(rows: Features, name: str, kind: type[Number]) -> NDArray[Number]:
    """The numbers of a list in the only row."""
    return np.array(rows[name][0], kind)
