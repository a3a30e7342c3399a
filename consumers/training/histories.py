"""Each user's recent clicks as they were known at any time.

A history changes only where a click becomes known, so it is kept once per click, and an impression
refers to the last one before it: memory grows with clicks, not with impressions.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.joins import matches


@dataclass(frozen=True, eq=False)
class Histories:
    """S histories, the first of them empty.

    Attributes:
        users: user_id, S - 1 rows: whose the second and all further ones are.
        since_us: int64[S - 1], from when each is known.
        offsets: int64[S + 1], where each begins in `videos`.
        videos: int32[E], places in the list of videos, newest click first.
    """

    users: pa.Table
    since_us: NDArray[np.int64]
    offsets: NDArray[np.int64]
    videos: NDArray[np.int32]

    def at(self, users: pa.Table, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[N]: the history that each user had at each time; 0 is the empty one."""
        return matches(users, times, self.users, self.since_us, self.since_us) + 1


def histories(clicks: pa.Table, *, limit: int) -> Histories:
    """The histories after each click.

    A history holds the last `limit` videos that its user clicked, each at its last click, newest
    first; of clicks at one microsecond the greater event_id is the newer (as in
    `user_recent_clicks`). A click belongs to the histories of times strictly after its own, from
    when it was known.

    Args:
        clicks: user_id, video (int32), event_id, event_us, created_us.
        limit: N_1.

    >>> clicks = pa.table({"user_id": ["u"] * 3, "video": pa.array([5, 6, 5], pa.int32()),
    ...                    "event_id": ["a", "b", "c"],
    ...                    "event_us": [1, 2, 3], "created_us": [1, 9, 3]})
    >>> recent_clicks = histories(clicks, limit=2)
    >>> recent_clicks.since_us.tolist()
    [2, 4, 9]
    >>> np.split(recent_clicks.videos, recent_clicks.offsets[1:-1])[1:]
    [array([5], dtype=int32), array([5], dtype=int32), array([5, 6], dtype=int32)]
    """
    newest_last = clicks.sort_by(
        [("event_us", "ascending"), ("event_id", "ascending")]
    ).combine_chunks()
    since = np.maximum(newest_last["event_us"].to_numpy() + 1, newest_last["created_us"].to_numpy())
    user = newest_last["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort(
        (since, user)
    )  # stable: clicks that come to be known together stay in their order
    videos = newest_last["video"].to_numpy()
    places, lengths = array("i"), array("q", [0, 0])
    for recent in _replay_clicks(
        user[order].tolist(), videos[order].tolist(), order.tolist(), limit
    ):
        places.extend(reversed(recent))
        lengths.append(len(recent))
    return Histories(
        newest_last.select(["user_id"]).take(pa.array(order)),
        since[order],
        np.cumsum(np.frombuffer(lengths, np.int64)),
        videos[np.frombuffer(places, np.int32)].astype(np.int32),
    )


def _replay_clicks(
    users: list[int], videos: list[int], places: list[int], limit: int
) -> Iterator[list[int]]:
    """The user's history after each click, in the order in which clicks become known.

    A history is the places of its clicks, oldest first.
    """
    current, recent, last = -1, list[int](), dict[int, int]()
    for user, video, place in zip(users, videos, places, strict=True):
        if user != current:
            current, recent, last = user, [], {}
        before = last.get(video, -1)
        if place > before:
            last[video] = place
            at = bisect_left(recent, before)
            if at < len(recent) and recent[at] == before:
                del recent[at]
            insort(recent, place)
            del recent[: max(len(recent) - limit, 0)]
        yield recent


def of_impressions(impressions: pa.Table, clicks: pa.Table, videos: pa.Array) -> pa.Table:
    """Clicks with their impression's user and video (place in `videos`), for :func:`histories`."""
    at = pc.index_in(
        clicks["event_id"], value_set=impressions["event_id"].combine_chunks()
    ).combine_chunks()
    known = clicks.filter(pc.is_valid(at)).combine_chunks()
    shown = impressions.select(["user_id", "video_id"]).take(at.drop_null())
    place = pc.index_in(shown["video_id"], value_set=videos)
    return known.append_column("user_id", shown["user_id"]).append_column("video", place)
