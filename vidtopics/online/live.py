"""Reads that see events: a release's values, and what came since, in one round trip.

A release's live state is its generation's (:mod:`vidtopics.layout.live`). Its commands go with
those of the values, before the directory's version: so both are of one release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from vidtopics.contracts import (
    USER_RECENT_CLICKS,
    USER_RECENT_SKIPS,
    USER_STATISTICS,
    USER_TOPICS,
    VIDEO_STATISTICS,
)
from vidtopics.errors import StoreError, explain
from vidtopics.layout import Directory
from vidtopics.layout.live import Click, LiveKeys, Skip, UserState, UserValue, live_counts
from vidtopics.online.features import Features
from vidtopics.online.lists import release_of
from vidtopics.online.requests import Request, encoded
from vidtopics.online.round_trip import Command

if TYPE_CHECKING:
    from vidtopics.online.reads import Read, Reads

USER_VIEWS = tuple(table.name for table in (USER_STATISTICS, USER_RECENT_CLICKS, USER_RECENT_SKIPS))
LIVE_VIEWS = (VIDEO_STATISTICS.name, *USER_VIEWS, USER_TOPICS.name)
"""The views that events add to: a generation stays while one of them is of its release."""


@dataclass(frozen=True)
class LiveStatistics:
    """Counts of N videos, the release's and those of events since its as-of time together.

    Attributes:
        exposures: int64[N], impressions; 0 for a video that nobody was shown. Of one that the
            release doesn't have, those of events alone.
        clicks: int64[N]; `vidtopics.rates.smoothed_ctr(clicks, exposures, prior)` is the rate.
        live_exposures: int64[N], those of events.
        live_clicks: int64[N], likewise.
        release: the release whose values these are.
    """

    exposures: NDArray[np.int64]
    clicks: NDArray[np.int64]
    live_exposures: NDArray[np.int64]
    live_clicks: NDArray[np.int64]
    release: int


@dataclass(frozen=True)
class LiveUser:
    """What a user did, up to the last event that was applied; lists are newest first.

    Attributes:
        exposures: impressions.
        clicks: clicks.
        recent_clicks: each video once.
        recent_skips: impressions without a click.
        is_damaged: whether the user's live value can't be parsed: then all is the release's alone.
    """

    exposures: int
    clicks: int
    recent_clicks: tuple[Click, ...]
    recent_skips: tuple[Skip, ...]
    is_damaged: bool = False

    @property
    def recent_video_ids(self) -> list[str]:
        """The clicked videos, as recall takes them."""
        return [click.video.decode() for click in self.recent_clicks]


def live_statistics(reads: Reads[Any], ids: Sequence[str]) -> Read[LiveStatistics]:
    """As the client's method of that name."""
    view, id_bytes = VIDEO_STATISTICS.name, encoded(ids)
    buckets: dict[int, list[int]] = {}

    def commands(directory: Directory) -> list[Command]:
        keys, release = LiveKeys(directory.prefix, directory.layout), release_of(directory, view)
        buckets.clear()
        for place, video in enumerate(id_bytes):
            buckets.setdefault(keys.bucket(video), []).append(place)
        return [
            ("HMGET", keys.state(release, "video", "state", b), *(id_bytes[i] for i in places))
            for b, places in buckets.items()
        ]

    directory, replies, [features] = yield from _read(reads, [(view, id_bytes)], commands)
    live = np.zeros((len(id_bytes), 2), np.int64)
    groups = zip(buckets.values(), replies, strict=True)
    damaged = sum(put_counts(live, places, values) for places, values in groups)
    if reads.metrics:
        reads.metrics.damaged("video", damaged)
    exposures, clicks = (
        cast("NDArray[np.int64]", features[f"video_{name}"]) for name in ("exposures", "clicks")
    )
    return LiveStatistics(
        exposures + live[:, 0],
        clicks + live[:, 1],
        live[:, 0],
        live[:, 1],
        release_of(directory, view),
    )


def live_user(reads: Reads[Any], user_id: str) -> Read[LiveUser]:
    """As the client's method of that name."""
    [user] = encoded([user_id])
    directory = yield from reads._current_directory()
    views = [view for view in USER_VIEWS if view in directory.views]
    if not views:
        raise _without_users(directory)
    releases: list[int] = []

    def commands(directory: Directory) -> list[Command]:
        keys = LiveKeys(directory.prefix, directory.layout)
        releases[:] = dict.fromkeys(release_of(directory, view) for view in views)
        bucket = keys.bucket(user)
        return [("HGET", keys.state(r, "user", "state", bucket), user) for r in releases]

    directory, replies, features = yield from _read(reads, [(v, [user]) for v in views], commands)
    nothing = UserState.parse(None)
    raw = zip(releases, replies, strict=True)
    stored = {release: UserValue(value) for release, value in raw if value is not None}
    damaged = sum(value.is_damaged for value in stored.values())
    if reads.metrics:
        reads.metrics.damaged("user", damaged)
    states = {release: value.state for release, value in stored.items() if not damaged}
    values = dict(zip(views, features, strict=True))
    state = {view: states.get(release_of(directory, view), nothing) for view in views}
    counted, clicked, skipped = (state.get(view, nothing) for view in USER_VIEWS)
    statistics = values.get(USER_STATISTICS.name)
    return LiveUser(
        _number(statistics, "user_exposures") + counted.exposures,
        _number(statistics, "user_clicks") + counted.clicks,
        tuple(clicked.recent_clicks(clicks_of(values.get(USER_RECENT_CLICKS.name)))),
        tuple(skipped.recent_skips(skips_of(values.get(USER_RECENT_SKIPS.name)))),
        bool(damaged),
    )


def put_counts(
    counts: NDArray[np.int64], places: Iterable[int], values: Iterable[bytes | None]
) -> int:
    """Put the counts of some videos, most of which have none, in their places.

    Args:
        counts: int64[N, 2], exposures and clicks; it is changed.
        places: of the videos in it.
        values: of the videos as Redis has them.

    Returns:
        How many values are damaged; their counts stay as they are.
    """
    damaged = 0
    for place, value in zip(places, values, strict=True):
        if value is None:
            continue
        pair = live_counts(value)
        if pair is None:
            damaged += 1
        else:
            counts[place] = pair
    return damaged


def _read(
    reads: Reads[Any], parts: Sequence[tuple[str, Sequence[bytes]]], live_commands: Any
) -> Read[tuple[Directory, Sequence[Any], list[Features]]]:
    """The values of views and the answers to the live commands, of one release."""
    from vidtopics.online.reads import FRESH

    names = [view for view, _ in parts]
    for fresh in FRESH:
        directory = yield from reads._current_directory(names, fresh=fresh)
        request = Request.of(directory, parts)
        batches, live = reads._batches(request), live_commands(directory)
        replies = yield [*live, *batches.commands]
        answers = batches.answers(replies[len(live) :])
        if (yield from reads._are_valid(request, answers, names)):
            break
    reads._pin(directory)
    return directory, replies[: len(live)], request.features(answers)


def _number(features: Features | None, name: str) -> int:
    return 0 if features is None else int(cast("Any", features[name])[0])


def _first(features: Features | None, *names: str) -> Iterable[tuple[Any, ...]]:
    """The entries of one user's lists, side by side."""
    lists: Mapping[str, Any] = {} if features is None else features.columns
    columns = [lists[name][0] for name in names if name in lists]
    return zip(*columns, strict=True) if columns and columns[0] is not None else ()


def clicks_of(features: Features | None) -> list[Click]:
    """The only row of `user_recent_clicks`; none where there is none."""
    names = ("recent_video_ids", "recent_times", "recent_watch_seconds")
    return [Click(int(us), v.encode(), float(w)) for v, us, w in _first(features, *names)]


def skips_of(features: Features | None) -> list[Skip]:
    """The only row of `user_recent_skips`, likewise."""
    names = ("skipped_video_ids", "skipped_times", "skipped_positions")
    return [Skip(int(us), v.encode(), int(at)) for v, us, at in _first(features, *names)]


def _without_users(directory: Directory) -> StoreError:
    return StoreError(
        explain(
            f"Redis, prefix {directory.prefix!r}",
            expected=f"one of the views {', '.join(USER_VIEWS)}",
            found=", ".join(directory.views) or "no views",
            mend="load a release that has them: `vidtopics run` and `vidtopics materialize`",
        )
    )
