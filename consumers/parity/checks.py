"""The two checks of a chunk of served rows against the tables.

`docs/parity.md` says what each verdict means.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.parity.history import EntityRows
from consumers.parity.log import Chunk
from consumers.parity.windows import Mask, Rows, Window
from vidtopics.joins import Serving, matches
from vidtopics.online import Status

# between judging a value's age and logging the time lie microseconds; the offset is exact to a
# round trip
TOLERANCE_US = 1_000_000


class Verdict(IntEnum):
    """What check 1 says of a row."""

    FINE = 0
    AHEAD = 1
    """Right, and newer than the watermark after the read: a load was under way."""
    CLOCK_SKEW = 2
    """Right by one clock and wrong by the other, or from the future."""
    NO_WATERMARK = 3
    """The value is in the table; whether it was the latest isn't known."""
    VERSION_GONE = 4
    """A version that the watermarks name can't be opened."""
    OTHER_TABLE = 5
    """The watermarks are of another Delta table, or the contract has no such view or field."""
    UNREADABLE = 6
    FOREIGN_TIMES = 7
    """The table has no row of this entity with these times."""
    WRONG_VALUE = 8
    """It has, with other features."""
    SUPERSEDED = 9
    """An older row, although a later one had been loaded."""
    MISSING = 10
    """Not found, although a row had been loaded."""
    WRONG_STATUS = 11
    REMOVED = 12
    """A row that had been taken out of the table."""

    @property
    def mismatch(self) -> bool:
        """Whether parity is broken."""
        return self >= Verdict.UNREADABLE

    @property
    def unchecked(self) -> bool:
        """Whether check 1 could not be made, or only in part."""
        return Verdict.NO_WATERMARK <= self <= Verdict.OTHER_TABLE


@dataclass(frozen=True, eq=False)
class Findings:
    """What the checks say of N rows.

    Attributes:
        verdict: int64[N], of check 1.
        should: int64[N], the row of the history that check 1 expected; -1: none.
        stale: bool[N], check 2: a join at the request's time gives other features or another
            status.
        joined: int64[N], the row that it gives; -1: none.
        behind_us: int64[N], how long that row had been known.
    """

    verdict: NDArray[np.int64]
    should: Rows
    stale: Mask
    joined: Rows
    behind_us: NDArray[np.int64]


class Checker:
    """Both checks of one chunk."""

    def __init__(
        self, chunk: Chunk, history: EntityRows, ttl_us: int, serving: Serving | None = None
    ) -> None:
        self.chunk, self.history, self.ttl_us, self.serving = chunk, history, ttl_us, serving
        self.entity = chunk.keys[1]
        self.skewed = np.abs(chunk.server_us - chunk.client_us) > TOLERANCE_US

    def findings(self) -> Findings:
        """Check 1, then check 2 of the rows that passed it."""
        verdict, should = self._check_values()
        judged = (
            (verdict < Verdict.UNREADABLE)
            & (verdict != Verdict.OTHER_TABLE)
            & (verdict != Verdict.CLOCK_SKEW)
        )
        joined = self._join_rows(self.chunk.server_us)
        stale = judged & self._differs_from(joined, self.chunk.server_us)
        by_client = stale & self.skewed
        if by_client.any():
            by_client &= ~self._differs_from(
                self._join_rows(self.chunk.client_us), self.chunk.client_us
            )
            verdict[by_client], stale = Verdict.CLOCK_SKEW, stale & ~by_client
        known = np.maximum(
            self._history_values(self.history.event_us, joined),
            self._history_values(self.history.created_us, joined),
        )
        behind_us = np.where(stale & (joined >= 0), self.chunk.server_us - known, 0)
        return Findings(verdict, should, stale, joined, behind_us)

    def _check_values(self) -> tuple[NDArray[np.int64], Rows]:
        chunk, history = self.chunk, self.history
        floor, ceiling, gone, other = self._watermark_places()
        window = Window(history, self.entity, floor, ceiling)
        row, known, absent = self._served_rows(window), floor >= 0, chunk.status == Status.NOT_FOUND
        at = np.where(ceiling >= 0, ceiling, floor)
        best = np.where(at >= 0, history.winners[np.maximum(at, 0), self.entity], -1)
        held, shown = window.holds(row), window.shows(row)
        coming, ahead = window.coming(np.where(held, -1, row))
        ended = self._history_values(history.ended, row).astype(bool) & (row >= 0)
        future = np.maximum(chunk.event_us, chunk.created_us) > chunk.server_us + TOLERANCE_US
        # Redis may have collected what lies outside its TTL.
        lacks = window.may_lack(
            lambda rows, at: self._expired(rows, chunk.server_us[at], -TOLERANCE_US)
        )
        by_server, by_client = (
            self._age_matches_status(row, clock) for clock in (chunk.server_us, chunk.client_us)
        )
        cases: list[tuple[Mask, Verdict]] = [
            (other, Verdict.OTHER_TABLE),
            (chunk.status == Status.UNREADABLE, Verdict.UNREADABLE),
            (gone, Verdict.VERSION_GONE),
            (absent & known & ~lacks, Verdict.MISSING),
            (absent & ~known, Verdict.NO_WATERMARK),
            (absent, Verdict.FINE),
            (row < 0, Verdict.FOREIGN_TIMES),
            (ended != (chunk.status == Status.NULL), Verdict.WRONG_STATUS),
            (self._differs(row), Verdict.WRONG_VALUE),
            (known & ~held & ~coming, Verdict.REMOVED),
            (known & ~shown & ~ahead, Verdict.SUPERSEDED),
            (~by_server & ~by_client, Verdict.WRONG_STATUS),
            (future | ~by_server, Verdict.CLOCK_SKEW),
            (~known, Verdict.NO_WATERMARK),
            (ahead, Verdict.AHEAD),
        ]
        verdict = np.select(
            [c for c, _ in cases], [int(v) for _, v in cases], int(Verdict.FINE)
        ).astype(np.int64)
        same = np.isin(verdict, [Verdict.WRONG_STATUS, Verdict.WRONG_VALUE])
        return verdict, np.where(same, row, best)

    def _served_rows(self, window: Window) -> Rows:
        """The row with the served entity and times, -1: none; of several the best fit."""
        rows, others = self.history.times
        keys = zip(
            self.entity.tolist(),
            self.chunk.event_us.tolist(),
            self.chunk.created_us.tolist(),
            strict=True,
        )
        row = np.array([rows.get(key, -1) for key in keys], np.int64)
        other = self._next_rows(others, row)
        while (
            other >= 0
        ).any():  # a table that was rewritten may have had two values under the same times
            row = np.where(
                (other >= 0) & (self._fit_score(other, window) > self._fit_score(row, window)),
                other,
                row,
            )
            other = self._next_rows(others, other)
        return row

    def _next_rows(self, others: Rows, row: Rows) -> Rows:
        next_row = np.full(len(row), -1)
        next_row[row >= 0] = others[row[row >= 0]]
        return next_row

    def _fit_score(self, row: Rows, window: Window) -> Rows:
        """int64[N]: a row that was there counts more than one that is like what was served."""
        return 2 * window.holds(row).astype(np.int64) + ~self._differs(row)

    def _watermark_places(self) -> tuple[Rows, Rows, Mask, Mask]:
        """Per row: floor, ceiling, version gone, other table.

        Floor and ceiling are places in `history.versions` (-1: none); the two masks say whether one
        of them can't be opened, and whether one is of another table.
        """
        places = {version: i for i, version in enumerate(self.history.versions)}
        sides = [self.chunk.marks("floor"), self.chunk.marks("ceiling")]
        floor, ceiling = (
            np.array([places.get(m.version, -2) if m else -1 for m in s], np.int64) for s in sides
        )
        other = [
            any(m and m.table_id != self.history.table_id for m in pair)
            for pair in zip(*sides, strict=True)
        ]
        line = self.chunk.line
        gone = (floor == -2) | (ceiling == -2)
        return floor[line], ceiling[line], gone[line], np.array(other, bool)[line]

    def _expired(self, row: Rows, clock_us: NDArray[np.int64], shift_us: int = 0) -> Mask:
        """Whether rows lie outside the view's TTL at a time."""
        oldest = clock_us + shift_us - self.ttl_us
        expired: Mask = (
            (row >= 0)
            & bool(self.ttl_us)
            & (self._history_values(self.history.event_us, row) < oldest)
        )
        return expired

    def _age_matches_status(self, row: Rows, clock_us: NDArray[np.int64]) -> Mask:
        """Whether the status is right about the row's age, within the tolerance."""
        is_expired = self.chunk.status == Status.OUTSIDE_MAX_AGE
        judgements = [
            self._expired(row, clock_us, shift) == is_expired
            for shift in (-TOLERANCE_US, TOLERANCE_US)
        ]
        right: Mask = judgements[0] | judgements[1] | (self.chunk.status == Status.NULL)
        return right

    def _join_rows(self, clock_us: NDArray[np.int64]) -> Rows:
        """The row that a join gives at a time, of those that the table has now."""
        history, now = self.history, np.flatnonzero(self.history.held[-1])
        keys, rows = pa.table({"entity": self.entity}), pa.table({"entity": history.entity[now]})
        at = matches(
            keys,
            clock_us,
            rows,
            history.event_us[now],
            history.created_us[now],
            known_by=clock_us,
            served=self.serving,
        )
        at[at >= 0] = now[at[at >= 0]]
        return at

    def _differs_from(self, joined: Rows, clock_us: NDArray[np.int64]) -> Mask:
        """Whether what was served has another status than the joined row, or other features."""
        ended = self._history_values(self.history.ended, joined).astype(bool)
        cases = [joined < 0, ended, self._expired(joined, clock_us)]
        status = np.select(
            cases, [Status.NOT_FOUND, Status.NULL, Status.OUTSIDE_MAX_AGE], Status.PRESENT
        )
        right_age = self._age_matches_status(joined, clock_us) & np.isin(
            status, [Status.PRESENT, Status.OUTSIDE_MAX_AGE]
        )
        alike = np.isin(self.chunk.status, [Status.PRESENT, Status.OUTSIDE_MAX_AGE]) & right_age
        alike |= (self.chunk.status == Status.NOT_FOUND) & (
            status == Status.OUTSIDE_MAX_AGE
        )  # collected
        differs: Mask = ((status != self.chunk.status) & ~alike) | (
            self._differs(joined) & (status == Status.PRESENT)
        )
        return differs

    def _differs(self, row: Rows) -> Mask:
        """Whether any feature that was served differs from that of a row."""
        differs = np.zeros(len(row), bool)
        for name in self.chunk.names:
            differs |= self.feature_differs(name, row)
        return differs

    def feature_differs(self, name: str, row: Rows) -> Mask:
        """bool[N]: whether a PRESENT row's feature differs from that of a row of the history.

        False where `row` is -1.
        """
        differs = np.zeros(len(row), bool)
        at = np.flatnonzero((row >= 0) & (self.chunk.present >= 0))
        served, served_null = self.chunk.column(name)
        present, history_row = self.chunk.present[at], row[at]
        held = self.history.columns[name]
        null, held_null = served_null[present], self.history.null[name][history_row]
        alike = served.shape[1] == held.shape[1]
        unequal = (
            (served[present] != held[history_row]).any(axis=1) if alike else np.ones(len(at), bool)
        )
        differs[at] = (null != held_null) | (~null & unequal)
        return differs

    def _history_values(self, column: NDArray[np.generic], row: Rows) -> NDArray[np.int64]:
        """A column of the history by row; 0 where there is none."""
        return (
            np.where(row >= 0, column[row], 0).astype(np.int64)
            if len(column)
            else np.zeros(len(row), np.int64)
        )
