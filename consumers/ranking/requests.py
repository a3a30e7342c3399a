"""A request's features in the encoding that training has.

No Arrow tables and no hash table of all ids for each request: six hundred candidates of one user
are a few arrays (docs/adr/0052).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from consumers.ranking.codes import Vocabulary
from consumers.ranking.inputs import Coded, Examples, encode_rows
from consumers.training.log import Log, Windows
from consumers.training.served import DECAYED_AT, STATISTICS, Placed, decayed_statistics, merge
from consumers.training.tallies import Centres, Served, Slots, TopicRows
from consumers.training.versions import Versions
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
class Candidates:
    """N candidates of one user as :class:`consumers.ranking.inputs.Rows`."""

    clicked: NDArray[np.bool_]
    shown_us: Ints
    counts: NDArray[np.float64]
    positions: NDArray[np.float64]
    published_us: NDArray[np.float64]
    state: Served
    video: NDArray[np.int32]
    topic_row: NDArray[np.int32]
    log: Log
    windows: Windows
    content_us: Ints
    versions: Versions


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
) -> Examples:
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
    log = merge(_clicks(features, videos), _skips(features, videos))
    row_of_video = np.full(len(videos.numbers), -1)
    row_of_video[of_row[::-1]] = np.arange(len(of_row))[::-1]  # of equal ones the first
    times_us, unknown = np.full(n, request.at_us), np.full(n, np.nan)
    end = np.full(n, len(log))
    rows = Candidates(
        clicked=np.zeros(n, bool),
        shown_us=times_us,
        counts=_counts(features.get(VIDEO_STATISTICS.name), n),
        positions=unknown,
        published_us=unknown,
        state=_state(features, n, request.at_us, timedelta(microseconds=half_life_us)),
        video=of_row[len(of_row) - n :],
        topic_row=np.arange(len(of_row) - n, len(of_row), dtype=np.int32),
        log=log,
        windows=Windows(np.maximum(end - places, 0), end, times_us),
        content_us=times_us,
        versions=Versions.constant(row_of_video),
    )
    codes = known.video_codes
    log_videos = np.array([codes.get(video, 0) for video in videos.numbers], np.int32)
    user = np.full(n, known.user_codes.get(request.user_id, 0), np.int32)
    coded = Coded(user, log_videos, topics)
    return encode_rows(rows, coded, known, places=places)


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


def _state(features: Mapping[str, Features], n: int, at_us: int, half_life: timedelta) -> Served:
    """The user's counts and topics, for each of N candidates."""
    counts, since_us = np.zeros((1, len(STATISTICS))), np.array([at_us])
    statistics = _present(features, USER_STATISTICS.name)
    if statistics is not None:
        counts = np.array([[float(cast("float", statistics[name][0])) for name in STATISTICS]])
        since_us = np.array([statistics[DECAYED_AT][0]], np.int64)
    own = decayed_statistics(counts, since_us, np.array([at_us]), half_life)
    topics = _present(features, USER_TOPICS.name)
    epochs = np.array([-1 if topics is None else topics["user_topic_epoch"][0]], np.int64)
    levels = (_level(topics, "user_topic"), _level(topics, "user_parent"))
    return Served(np.broadcast_to(own, (n, own.shape[1])), np.zeros(n, np.int64), levels, epochs)


def _level(topics: Features | None, prefix: str) -> Slots:
    """The user's only list of topics, or of parents."""
    if topics is None:
        return Slots(np.zeros(2, np.int64), np.zeros(0, np.int64), np.zeros((0, len(COUNTS))))
    ids = _list(topics, f"{prefix}_ids", np.int64)
    counts = [_list(topics, f"{prefix}_{name}", np.float64) for name in COUNTS]
    return Slots(np.array([0, len(ids)]), ids, np.stack(counts, 1))


def _clicks(features: Mapping[str, Features], videos: Places) -> Placed:
    """The user's recent clicks; a negative watch time is an unknown one."""
    rows = _present(features, USER_RECENT_CLICKS.name)
    if rows is None:
        return _no_entries()
    watch = _list(rows, "recent_watch_seconds", np.float32)
    watch = np.where(watch < 0, np.float32(np.nan), watch)
    positions = np.zeros(len(watch), np.int32)
    return _placed(rows, "recent_video_ids", "recent_times", videos, watch, positions)


def _skips(features: Mapping[str, Features], videos: Places) -> Placed:
    """The user's recent skips; a negative position is an unknown one."""
    rows = _present(features, USER_RECENT_SKIPS.name)
    if rows is None:
        return _no_entries()
    positions = np.maximum(_list(rows, "skipped_positions", np.int32), 0)
    watch = np.full(len(positions), np.nan, np.float32)
    return _placed(rows, "skipped_video_ids", "skipped_times", videos, watch, positions)


def _placed(
    rows: Features,
    ids: str,
    times: str,
    videos: Places,
    watch: NDArray[np.float32],
    positions: NDArray[np.int32],
) -> Placed:
    video = videos.of(cast("list[str]", rows[ids][0]))
    return Placed(np.zeros_like(video), video, _list(rows, times, np.int64), watch, positions)


def _no_entries() -> Placed:
    none = np.zeros(0, np.int32)
    return Placed(none, none, np.zeros(0, np.int64), np.zeros(0, np.float32), none)


def _present(features: Mapping[str, Features], view: str) -> Features | None:
    """The only row of a user's view; None where there is none."""
    rows = features.get(view)
    return rows if rows is not None and rows.present[0] else None


def _list(rows: Features, name: str, kind: type[Number]) -> NDArray[Number]:
    """The numbers of a list in the only row."""
    return np.array(rows[name][0], kind)
