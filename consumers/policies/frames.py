"""Many users' candidates as one frame: what a request's features would be, for each of them.

What :func:`consumers.ranking.requests.encode_request` reads in one user's rows in a store, made of
a platform's arrays for thousands: recent clicks and skips, statistics, topics met, videos' counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.encoding.topics import Centres, Slots, TopicRows
from consumers.policies.catalog import Catalog
from consumers.training.frame import Frame
from consumers.training.log import Log, Windows
from consumers.training.tallies import Served
from consumers.training.versions import Versions
from vidtopics.settings import Settings
from vidtopics.simulation.counts import UserRows
from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.platform import Platform
from vidtopics.tables import FOREVER

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float64]


class Candidates(NamedTuple):
    """N candidates of n users: int64[N] place of the user among them, int32[N] video; sorted."""

    user: Ints
    video: Codes

    @classmethod
    def of(cls, videos: Codes) -> Candidates:
        """From int32[n, C], -1 in unused places.

        >>> [part.tolist() for part in Candidates.of(np.array([[7, 3], [5, -1]]))]
        [[0, 0, 1], [7, 3, 5]]
        """
        user, place = np.nonzero(videos >= 0)
        return cls(user, videos[user, place])


class FrameMaker:
    """Makes frames of a catalogue's videos.

    Args:
        catalog: the videos, with the topics that a frame shows.
        settings: `recall.recent_clicks`, `users.topics` and `users.parents` limit the lists.
        places: the longest history.
        is_topical: whether topics are asked for; without, rows have none.
    """

    def __init__(
        self, catalog: Catalog, settings: Settings, *, places: int, is_topical: bool
    ) -> None:
        self.catalog, self.places, self.is_topical = catalog, places, is_topical
        self._recent = settings.recall.recent_clicks
        self._limits = settings.users.topics, settings.users.parents
        none = np.zeros((0, 1, 1), np.float32)
        centres = Centres(catalog.topic_ids, none, catalog.parent_ids, catalog.epoch)
        self._rows = TopicRows.of(catalog.topics, centres)

    def make(self, platform: Platform, users: Ints, now_us: Ints, candidates: Candidates) -> Frame:
        """A frame of all candidates, without labels, positions and ages.

        Args:
            platform: what is known.
            users: int64[n].
            now_us: int64[n], when each is served; no earlier than the user's last event.
            candidates: of these users.
        """
        owner, video = candidates
        known, catalog = platform.known, self.catalog
        counts = np.stack([known.exposures[video], known.clicks[video]], 1).astype(np.float64)
        log, first, end = self._log(platform.users, users)
        rows = pa.array(owner)
        ids = numbered("u", users, len(platform.users.shown)).take(rows)
        return Frame(
            impressions=pa.table(
                {
                    "user_id": ids,
                    "video_id": catalog.ids.take(pa.array(video)),
                    "position": pa.nulls(len(owner), pa.int32()),
                    "event_us": now_us[owner],
                }
            ),
            clicked=np.zeros(len(owner), bool),
            counts=counts,
            published_us=np.full(len(owner), np.nan),
            state=self._state(platform, users, now_us, owner),
            video=video.astype(np.int32),
            topic_row=video.astype(np.int32) if self.is_topical else np.full(len(owner), -1, "i4"),
            videos=catalog.ids,
            topics=catalog.topics,
            log=log,
            windows=Windows(first[owner], end[owner], now_us[owner]),
            content_us=now_us[owner],
            versions=Versions.constant(np.arange(len(catalog.ids))),
        )

    def _log(self, rows: UserRows, users: Ints) -> tuple[Log, Ints, Ints]:
        """The users' histories, and where each begins and ends."""
        size = len(users) * self.places
        video, at = np.zeros(size, np.int32), np.zeros(size, np.int64)
        clicked_us, end = np.full(size, FOREVER), np.zeros(len(users), np.int64)
        _gather(
            users,
            rows.video,
            rows.clicked,
            rows.at,
            rows.shown,
            self._recent,
            self.places,
            len(self.catalog.ids),
            video,
            at,
            clicked_us,
            end,
        )
        zeros = np.zeros(size, np.int32)
        log = Log(zeros, video, at, at, clicked_us, at, np.full(size, np.nan, np.float32), zeros)
        return log, np.arange(len(users)) * self.places, end

    def _state(self, platform: Platform, users: Ints, now_us: Ints, owner: Ints) -> Served:
        rows, half_life = platform.users, platform.rules.user_half_life
        decayed = (
            rows.decayed[users] * 0.5 ** ((now_us - rows.decayed_at[users]) / half_life)[:, None]
        )
        plain = [rows.shown[users], rows.clicks[users], rows.expected_clicks[users]]
        statistics = np.concatenate([np.stack(plain, 1), decayed], axis=1)
        rows_of = self._rows
        levels = [
            self._met(platform, users, codes, ids, limit)
            for codes, ids, limit in (
                (rows_of.codes, self.catalog.topic_ids, self._limits[0]),
                (rows_of.parents, self.catalog.parent_ids, self._limits[1]),
            )
        ]
        epochs = np.full(len(users), self.catalog.epoch)
        return Served(statistics[owner], owner, (levels[0], levels[1]), epochs)

    def _met(self, platform: Platform, users: Ints, codes: Codes, ids: Ints, limit: int) -> Slots:
        """Topics, or parents, that each user met in the remembered impressions, as a view has them.

        By falling decayed exposures, `limit` at most, ties by id.
        """
        if not self.is_topical:
            starts = np.zeros(len(users) + 1, np.int64)
            return Slots(starts, np.zeros(0, np.int64), np.zeros((0, 3)))
        rows, width = platform.users, min(limit, len(ids))
        met, counts = np.zeros((len(users), width), np.int64), np.zeros((len(users), width, 3))
        sizes = np.zeros(len(users), np.int64)
        _sum_met(
            users,
            rows.video,
            rows.clicked,
            rows.at,
            rows.expected,
            rows.shown,
            codes,
            self._rows.shares,
            len(ids),
            platform.rules.user_half_life,
            met,
            counts,
            sizes,
        )
        is_used = np.arange(width) < sizes[:, None]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        rounded = counts[is_used].astype(np.float32).astype(np.float64)  # as the view's columns
        return Slots(starts, ids[met[is_used]], rounded)


@numba.njit(cache=True, nogil=True)
def _gather(
    users: Ints,
    ring_video: Codes,
    ring_clicked: NDArray[np.int8],
    ring_at: Ints,
    shown: Ints,
    recent: int,
    places: int,
    videos: int,
    video: Codes,
    at: Ints,
    clicked_us: Ints,
    end: Ints,
) -> None:
    """The newest `places` of each user's recent clicks, each video once, and skips; newest last."""
    size, mark = ring_video.shape[1], np.zeros(videos, np.int64)
    chosen = np.empty(size, np.int64)
    for i in range(len(users)):
        user, count, clicks, skips = users[i], 0, 0, 0
        for back in range(1, min(shown[user], size) + 1):
            place = (shown[user] - back) % size
            is_click = ring_clicked[user, place] > 0
            if is_click and (mark[ring_video[user, place]] == i + 1 or clicks == recent):
                continue
            if not is_click and skips == recent:
                continue
            if is_click:
                mark[ring_video[user, place]] = i + 1
                clicks += 1
            else:
                skips += 1
            chosen[count] = place
            count += 1
            if count == places:
                break
        for k in range(count):
            place, row = chosen[count - 1 - k], i * places + k
            video[row], at[row] = ring_video[user, place], ring_at[user, place]
            if ring_clicked[user, place]:
                clicked_us[row] = at[row]
        end[i] = i * places + count


@numba.njit(cache=True, nogil=True)
def _sum_met(
    users: Ints,
    ring_video: Codes,
    ring_clicked: NDArray[np.int8],
    ring_at: Ints,
    ring_expected: NDArray[np.float32],
    shown: Ints,
    codes: Codes,
    shares: NDArray[np.float32],
    topics: int,
    half_life: float,
    met: Ints,
    counts: Floats,
    sizes: Ints,
) -> None:
    """Sums of exposures, clicks and expected clicks by topic, each by its share of the video."""
    size = ring_video.shape[1]
    sums, decayed = np.zeros((topics, 3)), np.zeros(topics)
    for i in range(len(users)):
        user = users[i]
        sums[:], decayed[:] = 0.0, 0.0
        last = ring_at[user, (shown[user] - 1) % size]
        for back in range(1, min(shown[user], size) + 1):
            place = (shown[user] - back) % size
            video = ring_video[user, place]
            weight = 0.5 ** ((last - ring_at[user, place]) / half_life)
            for slot in range(codes.shape[1]):
                topic, share = codes[video, slot] - 1, shares[video, slot]
                if topic >= 0:
                    sums[topic, 0] += share
                    sums[topic, 1] += share * ring_clicked[user, place]
                    sums[topic, 2] += share * ring_expected[user, place]
                    decayed[topic] += share * weight
        order = np.argsort(-decayed, kind="mergesort")
        for k in range(met.shape[1]):
            if sums[order[k], 0] <= 0:
                break
            met[i, k] = order[k]
            counts[i, k] = sums[order[k]]
            sizes[i] = k + 1
