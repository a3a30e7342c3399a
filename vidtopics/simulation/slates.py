"""The policy that writes the world's own log: popular, popular in the user's classes, random.

It knows what a platform without topics knows: recent clicks of every video (halved in seven
days), catalogue classes, and the last 128 impressions of every user. A slot is drawn from the
mixture

    q(v) = E / n + P w_v / sum w + (1 - E - P) t_c(v) w_v / sum t w,
    w_v = (recent clicks of v + 1)^exponent,
    t_c = (click rate of the user in class c / the user's click rate)^2, both smoothed,

over the n live videos, a video among the user's last 128 counting a tenth. No video comes twice in
a slate, so P(video | earlier slots) is q with theirs taken out, which is what the log says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vidtopics.simulation.jit import kernel, parallel_kernel, prange
from vidtopics.simulation.philox import Stream, philox, uniform
from vidtopics.simulation.platform import Platform
from vidtopics.simulation.world import World

EXPLORED = 0.3
"""E: share of slots drawn evenly from all live videos."""
POPULAR = 0.3
"""P: share of slots drawn by popularity alone."""
SEEN_FACTOR = 0.1
"""What is left of the chance of a video among those that the user was last shown."""
PRIOR_CLICKS = 1.0
"""What a video without clicks counts, so that new ones have a chance among the popular."""
PRIOR_IMPRESSIONS, PRIOR_RATE = 8.0, 0.3
"""Smoothing of click rates, of a user by the rate and of a class by the user's."""
TILT = 2.0
"""Power of the ratio of a user's click rates."""

Floats = NDArray[np.float64]


class LoggedPolicy:
    """The policy of the world's own log; `choose` says what its probabilities were."""

    name = "logged"

    def __init__(self, world: World) -> None:
        self._seed = world.seed
        self._exponent = world.settings.popularity_exponent
        self._class_of = world.classes.primary[world.items.topic]
        self._classes = world.settings.primary_classes
        self._videos = np.empty(0, dtype=np.int64)
        self._starts = np.zeros(self._classes + 1, dtype=np.int64)
        self._place = np.full(len(self._class_of), -1)

    def open_day(self, day: int, platform: Platform) -> None:
        """Put the day's live videos in order of class."""
        of_live = self._class_of[platform.live]
        self._videos = platform.live[np.argsort(of_live, kind="stable")].astype(np.int64)
        self._starts = np.searchsorted(np.sort(of_live), np.arange(self._classes + 1))
        self._place = np.full(len(self._class_of), -1)
        self._place[self._videos] = np.arange(len(self._videos))

    def choose(
        self,
        day: int,
        refresh: int,
        users: NDArray[np.int64],
        now_us: NDArray[np.int64],
        platform: Platform,
        slates: NDArray[np.int32],
        propensities: NDArray[np.float32],
    ) -> None:
        """Fill `slates` [n, k] and P(video | earlier slots); there must be k live videos."""
        weight = (recent_clicks(platform)[self._videos] + PRIOR_CLICKS) ** self._exponent
        rows = platform.users
        _choose(
            self._seed,
            day,
            refresh,
            users,
            self._videos,
            self._starts,
            self._place,
            self._class_of,
            np.concatenate([[0.0], np.cumsum(weight)]),
            rows.video,
            rows.clicked,
            rows.shown,
            slates,
            propensities,
        )


def recent_clicks(platform: Platform) -> Floats:
    """Clicks of all videos [V]: those of earlier days as decayed by now, and the day's own."""
    known = platform.known
    age = platform.midnight_us - known.decayed_at
    decayed: Floats = known.decayed_clicks * 0.5 ** (age / platform.rules.video_half_life)
    return decayed + (platform.clicks - known.clicks)


@kernel
def class_tilts(
    videos: NDArray[np.int32], clicked: NDArray[np.int8], class_of: NDArray[np.int64], tilts: Floats
) -> None:
    """Fill t_c [C] from the user's last impressions: 1 where the user saw none of the class.

    >>> tilts = np.empty(2)
    >>> seen, clicked = np.array([0, 0], dtype=np.int32), np.ones(2, dtype=np.int8)
    >>> class_tilts(seen, clicked, np.array([0, 1]), tilts)  # ((2 + 8 r) / 10 / r)^2, r = .44
    >>> tilts.round(3).tolist()
    [1.574, 1.0]
    """
    shown, clicks = np.zeros(len(tilts)), np.zeros(len(tilts))
    for j in range(len(videos)):
        shown[class_of[videos[j]]] += 1
        clicks[class_of[videos[j]]] += clicked[j]
    prior = PRIOR_IMPRESSIONS
    rate = (clicks.sum() + prior * PRIOR_RATE) / (shown.sum() + prior)
    for c in range(len(tilts)):
        tilts[c] = ((clicks[c] + prior * rate) / (shown[c] + prior) / rate) ** TILT


@kernel
def _weight(place: int, of: int, sums: Floats, tilts: Floats, tilted: float) -> float:
    """The mixture q of the live video at `place`, which is of class `of`."""
    popularity = sums[place + 1] - sums[place]
    return float(
        EXPLORED / (len(sums) - 1)
        + POPULAR * popularity / sums[-1]
        + (1 - EXPLORED - POPULAR) * tilts[of] * popularity / tilted
    )


@kernel
def _draw(
    words: tuple[np.uint64, np.uint64, np.uint64, np.uint64],
    starts: NDArray[np.int64],
    sums: Floats,
    tilts: Floats,
    tilted: float,
) -> int:
    """The place that is drawn from q: first which part of the mixture, then by inversion."""
    part, within = uniform(words[0]), uniform(words[1])
    count = len(sums) - 1
    if part < EXPLORED:
        return int(within * count)
    low, high = 0, count
    if part >= EXPLORED + POPULAR:
        left, of = uniform(words[2]) * tilted, 0
        while of < len(tilts) - 1:
            left -= tilts[of] * (sums[starts[of + 1]] - sums[starts[of]])
            if left < 0:
                break
            of += 1
        while starts[of] == starts[of + 1]:  # rounding let it run past the last class with videos
            of -= 1
        low, high = starts[of], starts[of + 1]
    target = sums[low] + within * (sums[high] - sums[low])
    place = low + int(np.searchsorted(sums[low + 1 : high + 1], target, side="right"))
    return min(place, high - 1)


@kernel
def _is_in(sorted_videos: NDArray[np.int32], video: int) -> bool:
    place = np.searchsorted(sorted_videos, video)
    return bool(place < len(sorted_videos) and sorted_videos[place] == video)


@kernel
def _fill(
    seed: int,
    day: int,
    refresh: int,
    user: int,
    videos: NDArray[np.int64],
    starts: NDArray[np.int64],
    place_of: NDArray[np.int64],
    class_of: NDArray[np.int64],
    sums: Floats,
    last: NDArray[np.int32],
    clicked: NDArray[np.int8],
    slate: NDArray[np.int32],
    propensity: NDArray[np.float32],
) -> None:
    """One user's slate [k]; `last` and `clicked` are the user's last impressions."""
    tilts, tilted = np.empty(len(starts) - 1), 0.0
    class_tilts(last, clicked, class_of, tilts)
    for c in range(len(tilts)):
        tilted += tilts[c] * (sums[starts[c + 1]] - sums[starts[c]])
    seen, left = np.sort(last), 1.0
    for j in range(len(seen)):
        place = place_of[seen[j]]
        if place >= 0 and (j == 0 or seen[j] != seen[j - 1]):
            q = _weight(place, class_of[seen[j]], sums, tilts, tilted)
            left -= (1 - SEEN_FACTOR) * q
    for k in range(len(slate)):
        attempt = 0
        while True:
            words = philox(seed, Stream.SLATE.value, user, k + len(slate) * attempt, day, refresh)
            place = _draw(words, starts, sums, tilts, tilted)
            video, attempt = videos[place], attempt + 1
            is_seen = _is_in(seen, video)
            if is_seen and uniform(words[3]) >= SEEN_FACTOR:
                continue
            taken = False
            for earlier in range(k):
                taken |= slate[earlier] == video
            if not taken:
                break
        q = _weight(place, class_of[video], sums, tilts, tilted)
        q *= SEEN_FACTOR if is_seen else 1.0
        slate[k], propensity[k] = video, q / left
        left -= q


@parallel_kernel
def _choose(
    seed: int,
    day: int,
    refresh: int,
    users: NDArray[np.int64],
    videos: NDArray[np.int64],
    starts: NDArray[np.int64],
    place_of: NDArray[np.int64],
    class_of: NDArray[np.int64],
    sums: Floats,
    ring: NDArray[np.int32],
    ring_clicked: NDArray[np.int8],
    shown: NDArray[np.int64],
    slates: NDArray[np.int32],
    propensities: NDArray[np.float32],
) -> None:
    for i in prange(len(users)):
        user = users[i]
        held = min(shown[user], ring.shape[1])
        _fill(
            seed,
            day,
            refresh,
            user,
            videos,
            starts,
            place_of,
            class_of,
            sums,
            ring[user, :held],
            ring_clicked[user, :held],
            slates[i],
            propensities[i],
        )
