"""Users' states and histories from rows of their views: those a store had, or one request read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.encoding.topics import Slots
from consumers.encoding.users import DECAYED_AT, STATISTICS, decayed_statistics
from consumers.training.log import Log, Windows
from consumers.training.tallies import Served
from vidtopics.contracts import USER_STATISTICS, USER_TOPICS
from vidtopics.tables import FOREVER

Ints = NDArray[np.int64]


def states(
    values: Mapping[str, pa.Table], rows: Mapping[str, Ints], times_us: Ints, half_life: timedelta
) -> Served:
    """The states of N users at their times.

    Args:
        values: the rows of `user_statistics` and `user_topics`, null in tombstones.
        rows: int64[N] for each of the two, which row is a user's; -1: none.
        times_us: int64[N], to which decayed counts decay.
        half_life: `users.half_life`.
    """
    lists = values[USER_TOPICS.name]
    names = ("exposures", "clicks", "expected")
    levels = (
        _slots(lists, "user_topic_ids", [f"user_topic_{name}" for name in names]),
        _slots(lists, "user_parent_ids", [f"user_parent_{name}" for name in names]),
    )
    statistics = _statistics(
        values[USER_STATISTICS.name], rows[USER_STATISTICS.name], times_us, half_life
    )
    epochs = lists["user_topic_epoch"].fill_null(-1).to_numpy()
    return Served(statistics, rows[USER_TOPICS.name], levels, epochs)


def _statistics(
    values: pa.Table, rows: Ints, times_us: Ints, half_life: timedelta
) -> NDArray[np.float64]:
    at = pa.array(rows, mask=rows < 0)
    counts = [
        values[name].take(at).cast(pa.float64()).fill_null(0).to_numpy() for name in STATISTICS
    ]
    since_us = values[DECAYED_AT].take(at).to_numpy(zero_copy_only=False)
    since_us = np.where(np.isnan(since_us), times_us, since_us).astype(np.int64)
    return decayed_statistics(np.stack(counts, 1), since_us, times_us, half_life)


def _slots(rows: pa.Table, ids: str, names: list[str]) -> Slots:
    """Lists of ids with their three counts; a row without a list has an empty one."""
    counts = [pc.list_flatten(rows[name]).to_numpy().astype(np.float64) for name in names]
    return Slots(_starts(rows[ids]), pc.list_flatten(rows[ids]).to_numpy(), np.stack(counts, 1))


def _starts(lists: pa.ChunkedArray) -> Ints:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    starts: Ints = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return starts


class Entries(NamedTuple):
    """R lists, newest first: where each begins, video ids, times, watch seconds, positions."""

    starts: Ints
    videos: pa.Array
    times_us: Ints
    watch_seconds: NDArray[np.float32]
    positions: NDArray[np.int32]

    @classmethod
    def empty(cls) -> Entries:
        """One list of nothing: a view that nobody read."""
        times = np.empty(0, np.int64)
        watch, positions = np.empty(0, np.float32), np.empty(0, np.int32)
        return cls(np.zeros(2, np.int64), pa.array([], pa.string()), times, watch, positions)

    @classmethod
    def clicked(cls, rows: pa.Table) -> Entries:
        """Of `user_recent_clicks`."""
        watch = pc.list_flatten(rows["recent_watch_seconds"]).to_numpy().astype(np.float32)
        watch = np.where(watch < 0, np.nan, watch).astype(np.float32)
        none = np.zeros(len(watch), np.int32)
        return cls(*_timed(rows, "recent_video_ids", "recent_times"), watch, none)

    @classmethod
    def skipped(cls, rows: pa.Table) -> Entries:
        """Of `user_recent_skips`."""
        positions = pc.list_flatten(rows["skipped_positions"]).to_numpy()
        none = np.full(len(positions), np.nan, np.float32)
        known = np.maximum(positions, 0).astype(np.int32)
        return cls(*_timed(rows, "skipped_video_ids", "skipped_times"), none, known)


def _timed(rows: pa.Table, ids: str, times: str) -> tuple[Ints, pa.Array, Ints]:
    videos = pc.list_flatten(rows[ids]).combine_chunks()
    return _starts(rows[ids]), videos, pc.list_flatten(rows[times]).to_numpy()


def merged(
    clicks: Entries,
    skips: Entries,
    click_rows: Ints,
    skip_rows: Ints,
    times_us: Ints,
    videos: pa.Array,
    *,
    limit: int,
) -> tuple[Log, Windows]:
    """Histories of N rows from recent clicks and skips, newest last, as windows into one log.

    A click stands at the click's time, and each clicked video once; of one time clicks are newer.

    Args:
        clicks: lists of clicks.
        skips: lists of skips.
        click_rows: int64[N], lists of `clicks`; -1: none.
        skip_rows: int64[N], likewise.
        times_us: int64[N].
        videos: ids that the log's videos count in.
        limit: entries of a window at most, the newest.
    """
    width = len(skips.starts) + 1
    pairs, pair = np.unique((click_rows + 1) * width + skip_rows + 1, return_inverse=True)
    parts = [
        _entries(lists, rows, videos)
        for lists, rows in ((clicks, pairs // width - 1), (skips, pairs % width - 1))
    ]
    log = merge(*parts)
    bounds = np.searchsorted(log.user, np.arange(len(pairs) + 1))
    end = bounds[1:][pair]
    return log, Windows(np.maximum(bounds[:-1][pair], end - limit), end, times_us)


class Placed(NamedTuple):
    """E entries: owner, place of the video, time, watch seconds and position of each."""

    owner: NDArray[np.int32]
    video: NDArray[np.int32]
    times_us: Ints
    watch_seconds: NDArray[np.float32]
    positions: NDArray[np.int32]


def merge(clicks: Placed, skips: Placed) -> Log:
    """Clicks and skips by owner and time; of one time clicks are newer."""
    both = Placed(*(np.concatenate([a, b]) for a, b in zip(clicks, skips, strict=True)))
    clicked = np.arange(len(both.owner)) < len(clicks.owner)
    order = np.lexsort((clicked, both.times_us, both.owner))
    times, clicked = both.times_us[order], clicked[order]
    return Log(
        both.owner[order],
        both.video[order],
        times,
        times,
        np.where(clicked, times, FOREVER),
        np.where(clicked, times, 0),
        both.watch_seconds[order],
        both.positions[order],
    )


def _entries(lists: Entries, rows: Ints, videos: pa.Array) -> Placed:
    """All entries of the chosen lists; their owner is the place in `rows`."""
    empty = np.append(lists.starts, lists.starts[-1])
    lengths = np.where(rows >= 0, np.diff(empty)[rows], 0)
    owner = np.repeat(np.arange(len(rows), dtype=np.int32), lengths)
    offsets = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = np.repeat(lists.starts[rows], lengths) + offsets
    video = pc.index_in(lists.videos, value_set=videos).to_numpy(zero_copy_only=False)[at]
    return Placed(
        owner,
        video.astype(np.int32),
        lists.times_us[at],
        lists.watch_seconds[at],
        lists.positions[at],
    )


def counts_of(statistics: pa.Table) -> NDArray[np.float64]:
    """float64[N, 2] of the columns of `video_statistics`; NaN where nothing is known."""
    columns = [
        statistics[name].cast(pa.float64()).fill_null(np.nan).to_numpy()
        for name in ("video_exposures", "video_clicks")
    ]
    return np.stack(columns, axis=1)
