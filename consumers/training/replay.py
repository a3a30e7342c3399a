"""The user's state before each impression, by a replay of the log as it came to be known.

The definitions are those of the views `user_statistics` and `user_topics` (`docs/tables.md`), taken
at each impression's time instead of once a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from consumers.encoding.topics import Centres, TopicRows, TopicSums
from consumers.training.log import Log
from consumers.training.tallies import add_sums
from consumers.training.versions import Versions
from vidtopics.tables import FOREVER

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float32]
STATISTICS = 6
"""Exposures, clicks, expected clicks, and the same three decayed."""


@dataclass(frozen=True, eq=False)
class Replay:
    """The states that N rows' users had at their times.

    Attributes:
        log: what is replayed.
        expected: float64[E], p of each entry.
        user: int32[N], whose state.
        seen_us: int64[N], when.
        versions: topic rows of each video of the log.
        half_life_us: in which a decayed count halves.
        limits: topics and parents that a state holds (`users.topics`, `users.parents`).
    """

    log: Log
    expected: NDArray[np.float64]
    user: NDArray[np.int32]
    seen_us: Ints
    versions: Versions
    half_life_us: int
    limits: tuple[int, int]

    @cached_property
    def statistics(self) -> NDArray[np.float64]:
        """float64[N, 6], see :data:`STATISTICS`, decayed until `seen_us`."""
        log = self.log
        when, click, entry, starts = _events(log, log.known_us, log.clicked_us)
        out = np.zeros((len(self.user), STATISTICS))
        order, rows = self._rows
        _replay_statistics(
            when,
            click,
            np.where(click, log.click_us[entry], log.shown_us[entry]),
            self.expected[entry],
            starts,
            order,
            rows,
            self.seen_us,
            float(self.half_life_us),
            out,
        )
        return out

    def topic_sums(
        self, candidate: NDArray[np.int32], topics: TopicRows, centres: Centres
    ) -> TopicSums:
        """What the user's topics say of each row's candidate.

        An impression counts in the topics that its video had when it was shown, as far as known, or
        in the first ones that came to be known of it in the epoch.

        Args:
            candidate: int32[N], rows of `topics`; -1: none.
            topics: the view's rows, in the centres' codes.
            centres: which topics there are.
        """
        row, since = _first_topics(self.log, self.versions, topics.used)
        known = np.maximum(self.log.known_us, since)
        clicked = np.where(
            self.log.clicked_us < FOREVER, np.maximum(self.log.clicked_us, known), FOREVER
        )
        when, click, entry, starts = _events(self.log, known, clicked)
        order, rows = self._rows
        sums = TopicSums.empty(len(self.user))
        for level, limit in enumerate(self.limits):
            _replay_topics(
                when,
                click,
                entry,
                starts,
                order,
                rows,
                self.seen_us,
                self.log.shown_us,
                self.expected,
                row,
                candidate,
                topics.codes if level == 0 else topics.parents,
                topics.shares,
                centres.kernels if level == 0 else np.zeros((0, 1, 1), np.float32),
                topics.size(level),
                limit,
                float(self.half_life_us),
                *sums.of_level(level),
            )
        return sums

    @cached_property
    def _rows(self) -> tuple[Ints, Ints]:
        """Rows by user and time, and where each user's begin."""
        order = np.lexsort((self.seen_us, self.user))
        last = max(int(self.user.max(initial=-1)), int(self.log.user.max(initial=-1)))
        return order, np.searchsorted(self.user[order], np.arange(last + 2))


def _events(
    log: Log, known_us: Ints, clicked_us: Ints
) -> tuple[Ints, NDArray[np.bool_], Ints, Ints]:
    """When each event counts, whether it is a click, its entry; and where each user's begin."""
    shown, clicks = np.flatnonzero(known_us < FOREVER), np.flatnonzero(clicked_us < FOREVER)
    entry = np.concatenate([shown, clicks])
    when = np.concatenate([known_us[shown], clicked_us[clicks]])
    click = np.arange(len(entry)) >= len(shown)
    order = np.lexsort((entry, click, when, log.user[entry]))
    entry = entry[order]
    starts = np.searchsorted(log.user[entry], np.arange(int(log.user.max(initial=-1)) + 2))
    return when[order], click[order], entry, starts


def _first_topics(
    log: Log, versions: Versions, used: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], Ints]:
    """Row of the topics that each entry counts in, and from when it is known; -1, FOREVER: none."""
    row, since = np.empty(len(log), np.int32), np.empty(len(log), np.int64)
    _find_first(*versions, used, log.video, log.shown_us, row, since)
    return row, since


@numba.njit(cache=True)
def _find_first(
    starts: Ints,
    since_us: Ints,
    rows: Codes,
    used: NDArray[np.bool_],
    video: Codes,
    shown_us: Ints,
    row: Codes,
    since: Ints,
) -> None:
    for n in range(len(video)):
        low, high = starts[video[n]], starts[video[n] + 1]
        row[n], since[n] = -1, 9223372036854775807
        at = low + np.searchsorted(since_us[low:high], shown_us[n], side="right") - 1
        for place in range(max(at, low), high):
            if rows[place] >= 0 and used[rows[place]]:
                row[n], since[n] = rows[place], since_us[place]
                break


@numba.njit(cache=True)
def _replay_statistics(
    when: Ints,
    click: NDArray[np.bool_],
    event_us: Ints,
    p: NDArray[np.float64],
    starts: Ints,
    order: Ints,
    rows: Ints,
    seen_us: Ints,
    half_life_us: float,
    out: NDArray[np.float64],
) -> None:
    for user in range(len(starts) - 1):
        state = np.zeros(6)
        at, end = starts[user], starts[user + 1]
        last = seen_us[order[rows[user]]] if rows[user] < rows[user + 1] else 0
        for place in range(rows[user], rows[user + 1]):
            row = order[place]
            now = seen_us[row]
            state[3:] *= 2.0 ** ((last - now) / half_life_us)
            last = now
            while at < end and when[at] <= now:
                weight = 2.0 ** ((event_us[at] - now) / half_life_us)
                if click[at]:
                    state[1] += 1
                    state[4] += weight
                else:
                    state[0] += 1
                    state[3] += weight
                    state[2] += p[at]
                    state[5] += weight * p[at]
                at += 1
            out[row] = state


@numba.njit(cache=True)
def _replay_topics(
    when: Ints,
    click: NDArray[np.bool_],
    entry: Ints,
    starts: Ints,
    order: Ints,
    rows: Ints,
    seen_us: Ints,
    shown_us: Ints,
    p: NDArray[np.float64],
    topic_row: Codes,
    candidate: Codes,
    codes: Codes,
    shares: Floats,
    kernels: Floats,
    size: int,
    limit: int,
    half_life_us: float,
    match: Floats,
    kernel: Floats,
) -> None:
    place_of = np.full(size, -1, np.int64)
    ids, last = np.empty(size, np.int32), np.zeros(size, np.int64)
    counts, decayed = np.zeros((size, 3)), np.zeros(size)
    for user in range(len(starts) - 1):
        n, at, end = 0, starts[user], starts[user + 1]
        for place in range(rows[user], rows[user + 1]):
            row = order[place]
            while at < end and when[at] <= seen_us[row]:
                shown, source = entry[at], topic_row[entry[at]]
                for slot in range(codes.shape[1]):
                    topic = codes[source, slot]
                    if topic <= 0:
                        continue
                    k = place_of[topic]
                    if k < 0:
                        k, n = n, n + 1
                        place_of[topic], ids[k] = k, topic
                        counts[k], decayed[k], last[k] = 0, 0, shown_us[shown]
                    share = shares[source, slot]
                    if click[at]:
                        counts[k, 1] += share
                        continue
                    counts[k, 0] += share
                    counts[k, 2] += share * p[shown]
                    if shown_us[shown] > last[k]:
                        decayed[k] *= 2.0 ** ((last[k] - shown_us[shown]) / half_life_us)
                        last[k] = shown_us[shown]
                    decayed[k] += share * 2.0 ** ((shown_us[shown] - last[k]) / half_life_us)
                at += 1
            this = candidate[row]
            if this >= 0 and n > 0:
                chosen = _most_recent(ids[:n], decayed[:n], last[:n], limit, half_life_us)
                add_sums(
                    ids[chosen],
                    counts[chosen],
                    codes[this],
                    shares[this],
                    kernels,
                    match[row],
                    kernel[row],
                )
        place_of[ids[:n]] = -1


@numba.njit(cache=True)
def _most_recent(
    ids: Codes, decayed: NDArray[np.float64], last: Ints, limit: int, half_life_us: float
) -> Ints:
    """Places of the topics of most decayed exposures, of equals those of the lower id.

    Compared as logarithms: exposures of years ago decay to less than a float holds.
    """
    if len(ids) <= limit:
        return np.arange(len(ids))
    rank = np.log2(np.maximum(decayed, 1e-300)) + last / half_life_us
    by_id = np.argsort(ids)
    return by_id[np.argsort(-rank[by_id], kind="mergesort")[:limit]]
