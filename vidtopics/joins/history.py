"""The rows of a table by key and time, ready for any number of point-in-time questions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.errors import explain
from vidtopics.joins.keys import KeyCodes, ordered
from vidtopics.joins.serving import NEVER_US, Serving, Stretch

Micros = NDArray[np.int64]
PART = 1 << 15
"""Rows that a thread looks up at once: what it holds of them fits its cache."""


class Rule(NamedTuple):
    """Which rows are seen.

    Attributes:
        distance_us: how far "known by" lies from the time asked for; None: no such bound.
        cut_us: one "known by" for all times; None: no such bound.
        strictly_before: an event at the time asked for doesn't count.
        stretch: rows are known once they were served in it; None: from their created time on.
    """

    distance_us: int | None
    cut_us: int | None
    strictly_before: bool
    stretch: Stretch | None = None


class Timeline(NamedTuple):
    """For each of K keys the times from which on another row is seen.

    Those of key k lie from `starts[k]` to `starts[k + 1]`, ascending.

    `starts` is int64[K + 2]; its last two are equal, a key without rows, which is that of unknown
    ones. `row`: the row that is seen.
    """

    starts: NDArray[np.int64]
    since_us: Micros
    row: NDArray[np.int64]

    def at(self, codes: NDArray[np.int64], times_us: Micros) -> NDArray[np.int64]:
        """int64[N]: the row of each key at each time, -1: none. One binary search of all."""
        if not len(self.row):
            return np.full(len(codes), -1, np.int64)
        first = self.starts[codes]
        low, left = first, self.starts[codes + 1] - first
        for _ in range(int(left.max(initial=0)).bit_length()):
            half = left >> 1
            middle = low + half
            earlier = (left > 0) & (
                self.since_us[np.minimum(middle, len(self.since_us) - 1)] <= times_us
            )
            low = np.where(earlier, middle + 1, low)
            left = np.where(earlier, left - half - 1, half)
        return np.where(low > first, self.row[low - 1], -1)


class History:
    """M rows of a table: their keys, and from when each holds and was known.

    `docs/time.md` has the rules.

    Args:
        keys: M rows, the key's columns; a row with a null key matches nothing.
        event_us: int64[M], from when each row holds.
        created_us: int64[M], from when it was known.

    >>> keys = pa.table({"video_id": ["a", "a", "b"]})
    >>> rows = History(keys, np.array([10, 20, 10]), np.array([11, 50, 11]))
    >>> spine, times = pa.table({"video_id": ["a", "a", "b", "c"]}), np.array([30, 50, 9, 50])
    >>> rows.matches(spine, times).tolist()
    [1, 1, -1, -1]
    >>> rows.matches(spine, times, known_by=times).tolist()
    [0, 1, -1, -1]
    """

    def __init__(self, keys: pa.Table, event_us: Micros, created_us: Micros) -> None:
        _same_length("rows", keys, event_us, created_us)
        if not keys.num_columns:
            raise ValueError(
                explain("rows", expected="the key's columns", found="none", mend="select them")
            )
        self.event_us, self.created_us = event_us, created_us
        self._names = keys.column_names
        self._codes = KeyCodes(keys)
        self._timelines: dict[Rule, Timeline] = {}

    def matches(
        self,
        keys: pa.Table,
        times_us: Micros,
        *,
        known_by: int | Micros | None = None,
        ttl_us: int = 0,
        strictly_before: bool = False,
        served: Serving | None = None,
    ) -> NDArray[np.int64]:
        """For each key and time the latest (event, created) of the rows that held and were known.

        Of rows that are equal in key, event and created the last one wins; a tombstone is a row
        like any other. The order of the rows under a rule is made once and kept.

        Args:
            keys: N rows with the key's columns.
            times_us: int64[N], the times asked for.
            known_by: None: whatever was known when. A time: rows known by then, for all. int64[N]:
                rows known by then, which has to lie equally far from the time asked for in every
                row (`times_us`: known by the time asked for).
            ttl_us: a latest row whose event is older than this is no match, exactly as old is; 0:
                no limit.
            strictly_before: an event at the time asked for doesn't count yet.
            served: a row is known while a release that has it is live, and not from its created
                time on; with `known_by`.

        Returns:
            int64[N], row numbers, -1 where there is none; in the order asked for.

        Raises:
            ValueError: columns, their types or lengths don't fit, or `known_by` lies unequally far
                from `times_us`.
        """
        _same_length("spine", keys, times_us)
        missing = set(self._names) - set(keys.column_names)
        if missing:
            raise ValueError(
                explain(
                    "spine",
                    expected="the key's columns",
                    found=f"no {', '.join(sorted(missing))}",
                    mend="rename them",
                )
            )
        if not len(times_us) or not len(self.event_us):
            return np.full(len(times_us), -1, np.int64)
        rule = _rule(times_us, known_by, strictly_before)
        if served is None:
            return self._look_up(keys, times_us, rule, ttl_us)
        at = np.full(len(times_us), -1, np.int64)
        places = served.places(
            times_us if rule.cut_us is None else np.full_like(times_us, rule.cut_us)
        )
        for place in np.unique(places[places >= 0]).tolist():
            inside = places == place
            stretch = rule._replace(stretch=served.stretches[place])
            part = self._look_up(keys.filter(pa.array(inside)), times_us[inside], stretch, ttl_us)
            at[inside] = part
        return at

    def _look_up(
        self, keys: pa.Table, times_us: Micros, rule: Rule, ttl_us: int
    ) -> NDArray[np.int64]:
        # Sorting and searching don't hold the interpreter's lock.
        with ThreadPoolExecutor() as threads:
            timeline_future = threads.submit(self._timeline, rule)
            codes = self._codes.of(keys)
            codes = np.where(codes < 0, len(self._codes), codes)
            timeline = timeline_future.result()
            parts = [slice(start, start + PART) for start in range(0, len(codes), PART)]
            at = np.concatenate(
                list(threads.map(lambda part: timeline.at(codes[part], times_us[part]), parts))
            )
        if ttl_us:
            at[(at >= 0) & (self.event_us[at] < times_us - ttl_us)] = -1
        return at

    def _timeline(self, rule: Rule) -> Timeline:
        if rule not in self._timelines:
            self._timelines[rule] = self._build(rule)
        return self._timelines[rule]

    def _build(self, rule: Rule) -> Timeline:
        usable, known_us = self._codes.rows >= 0, self.created_us
        if rule.stretch is not None:
            known_us = rule.stretch.served_us(self.created_us)
            usable &= known_us < NEVER_US
        if rule.cut_us is not None:
            usable &= known_us <= rule.cut_us
        rows = np.flatnonzero(usable)
        codes, event = self._codes.rows[rows], self.event_us[rows]
        order = ordered(codes, event, self.created_us[rows])
        codes, row = codes[order], rows[order]
        since = self.event_us[row] + rule.strictly_before
        if rule.distance_us is not None:
            since = np.maximum(since, known_us[row] - rule.distance_us)
            later = ordered(codes, since)
            # What is seen from a time on is the latest of all that are seen by then; within a key,
            # order is rank.
            since, row = since[later], row[np.maximum.accumulate(later)]
        starts = np.searchsorted(codes, np.arange(len(self._codes) + 2))
        return Timeline(starts, since, row)


def _rule(times_us: Micros, known_by: int | Micros | None, strictly_before: bool) -> Rule:
    if not isinstance(known_by, np.ndarray):
        return Rule(None, known_by, strictly_before)
    # "Held and known" is one time only where both lie equally far apart.
    distances = known_by - times_us if known_by.shape == times_us.shape else np.empty(0, np.int64)
    if not len(distances) or (distances != distances[0]).any():
        raise ValueError(
            explain(
                "known_by",
                expected="one distance from spine_us in all rows",
                found=f"several, shape {known_by.shape}",
                mend="join the rows of each distance by themselves",
            )
        )
    return Rule(int(distances[0]), None, strictly_before)


def _same_length(what: str, keys: pa.Table, *times: Micros) -> None:
    lengths = [len(keys), *map(len, times)]
    if len(set(lengths)) > 1:
        raise ValueError(
            explain(
                what,
                expected="keys and times of equal length",
                found=str(lengths),
                mend="pass all rows of each",
            )
        )
