"""The users' log: every impression with what became of it, sorted so that a history is a window.

The earlier impressions of a row are a stretch of this log, so memory grows with impressions and
not with rows times the length of a history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.rates import Prior, smoothed_ctr
from vidtopics.tables import FOREVER

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
DAY_US = 86_400_000_000


@dataclass(frozen=True, eq=False)
class Log:
    """E impressions, sorted by user, time and id.

    Attributes:
        user: int32[E], places in a list of users.
        video: int32[E], places in a list of videos.
        shown_us: int64[E], when it was shown.
        known_us: int64[E], from when it is known: after its own time, and when it was committed.
        clicked_us: int64[E], from when its click is known, likewise; FOREVER: none is.
        click_us: int64[E], the click's own time; 0 without.
        watch_seconds: float32[E], NaN where unknown.
        position: int32[E], 0 where unknown.
    """

    user: NDArray[np.int32]
    video: NDArray[np.int32]
    shown_us: Ints
    known_us: Ints
    clicked_us: Ints
    click_us: Ints
    watch_seconds: NDArray[np.float32]
    position: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.video)


class Windows(NamedTuple):
    """int64[N] each: a row's history is the log from `first` to `end`, as seen at `seen_us`."""

    first: Ints
    end: Ints
    seen_us: Ints


def build_log(impressions: pa.Table, clicks: pa.Table, videos: pa.Array, users: pa.Array) -> Log:
    """The log of all impressions.

    An event is known strictly after its own time, so that rows of one microsecond see nothing of
    each other, and not before it was committed. A click whose impression isn't there is left out.

    Args:
        impressions: event_id, user_id, video_id, position, event_us, created_us; E rows.
        clicks: event_id (unique), watch_seconds, event_us, created_us.
        videos: ids that `video` counts in.
        users: ids that `user` counts in.

    >>> shown = {"event_id": ["b", "a"], "user_id": ["u", "u"], "video_id": ["w", "v"]}
    >>> shown |= {"position": [2, 1], "event_us": [7, 5], "created_us": [7, 5]}
    >>> click = {"event_id": ["a"], "watch_seconds": [3.5], "event_us": [6], "created_us": [9]}
    >>> ids = pa.array(["v", "w"]), pa.array(["u"])
    >>> log = build_log(pa.table(shown), pa.table(click), *ids)
    >>> log.video.tolist(), log.known_us.tolist(), log.clicked_us.tolist() == [9, FOREVER]
    ([0, 1], [6, 8], True)
    """
    user, video = (
        pc.index_in(impressions[name], value_set=ids).to_numpy().astype(np.int32)
        for name, ids in (("user_id", users), ("video_id", videos))
    )
    shown = impressions["event_us"].to_numpy()
    known = _known(shown, impressions["created_us"].to_numpy())
    at = pc.index_in(
        impressions["event_id"], value_set=clicks["event_id"].combine_chunks()
    ).to_numpy(zero_copy_only=False)
    has_click = ~np.isnan(at)
    place = at[has_click].astype(np.int64)
    clicked = np.full(len(shown), FOREVER)
    event, created = (clicks[name].to_numpy()[place] for name in ("event_us", "created_us"))
    clicked[has_click] = np.maximum(_known(event, created), known[has_click])
    click = np.zeros(len(shown), np.int64)
    click[has_click] = event
    watch = np.full(len(shown), np.nan, np.float32)
    watch[has_click] = clicks["watch_seconds"].to_numpy()[place]
    position = impressions["position"].fill_null(0).to_numpy().astype(np.int32)
    id_rank = pc.rank(impressions["event_id"].combine_chunks()).to_numpy()
    order = np.lexsort((id_rank, shown, user))
    return Log(
        user[order],
        video[order],
        shown[order],
        known[order],
        clicked[order],
        click[order],
        watch[order],
        position[order],
    )


def windows(log: Log, user: NDArray[np.int32], times_us: Ints, *, limit: int) -> Windows:
    """The newest `limit` impressions of each row's user strictly before its time.

    Some of them may not be known yet: `known_us` and `clicked_us` of the log say so, compared with
    `seen_us`.

    Args:
        log: sorted as it is.
        user: int32[N], whose.
        times_us: int64[N].
        limit: entries of a window at most.

    >>> shown = np.array([1, 5, 5, 9])
    >>> log = Log(np.zeros(4, np.int32), np.zeros(4, np.int32), *[shown] * 4, None, None)
    >>> windows(log, np.array([0, 0], np.int32), np.array([5, 10]), limit=3)[:2]
    (array([0, 1]), array([1, 4]))
    """
    starts = np.searchsorted(log.user, np.arange(int(user.max(initial=-1)) + 1))
    end = count_before(log.user, log.shown_us, user, times_us - 1) + starts[user]
    return Windows(np.maximum(starts[user], end - limit), end, times_us)


def count_before(
    groups: NDArray[np.int32],
    times_us: Ints,
    asked_groups: NDArray[np.int32],
    asked_us: Ints,
) -> Ints:
    """int64[N]: events of each asked group up to each asked time, that time included.

    >>> groups, times = np.array([0, 0, 1], np.int32), np.array([1, 5, 5])
    >>> count_before(groups, times, np.array([0, 0, 1, 2], np.int32), np.array([4, 5, 5, 9]))
    array([1, 2, 1, 0])
    """
    order = np.lexsort((times_us, groups))
    return _count(groups[order], times_us[order], asked_groups, asked_us)


def video_counts(log: Log, video: NDArray[np.int32], times_us: Ints) -> NDArray[np.float64]:
    """float64[N, 2]: exposures and clicks of each video before each time, and known by then.

    As `video_statistics` would have them, had it been committed at that time; NaN where the video
    was never shown.
    """
    clicked = log.clicked_us < FOREVER
    exposures = count_before(log.video, log.known_us, video, times_us)
    clicks = count_before(log.video[clicked], log.clicked_us[clicked], video, times_us)
    counts = np.stack([exposures, clicks], 1).astype(np.float64)
    counts[exposures == 0] = np.nan
    return counts


def expected_clicks(log: Log, *, prior_exposures: float) -> NDArray[np.float64]:
    """float64[E], p: the smoothed click rate of each impression's video as its UTC day began.

    Counts and the global rate are those of events before that day that were known when it began, so
    p never depends on anything that came after the impression.
    """
    morning = log.shown_us - log.shown_us % DAY_US
    everything = np.zeros(len(log), np.int32)
    clicked = log.clicked_us < FOREVER
    counts = np.nan_to_num(video_counts(log, log.video, morning))
    total = count_before(everything, log.known_us, everything, morning)
    clicks = count_before(everything[clicked], log.clicked_us[clicked], everything, morning)
    rate = np.divide(clicks, total, out=np.zeros(len(log)), where=total > 0)
    prior = Prior(0.0, prior_exposures)
    smoothed: NDArray[np.float64] = smoothed_ctr(
        counts[:, 1] + prior_exposures * rate, counts[:, 0], prior
    )
    return smoothed


def _known(event_us: Ints, created_us: Ints) -> Ints:
    known: Ints = np.maximum(event_us + 1, created_us)
    return known


@numba.njit(cache=True)
def _count(
    groups: Codes,
    times_us: Ints,
    asked_groups: Codes,
    asked_us: Ints,
) -> Ints:
    out = np.empty(len(asked_us), np.int64)
    last = groups[-1] if len(groups) else -1
    starts = np.zeros(last + 2, np.int64)
    for group in groups:
        starts[group + 1] += 1
    starts = np.cumsum(starts)
    for row in range(len(asked_us)):
        group = asked_groups[row]
        if group > last:
            out[row] = 0
            continue
        low, high = starts[group], starts[group + 1]
        out[row] = np.searchsorted(times_us[low:high], asked_us[row], side="right")
    return out
