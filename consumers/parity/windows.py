"""What an answer may have been read from: the versions between its floor and its ceiling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from consumers.parity.history import EntityRows

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Window:
    """Of N served rows; places are those of `history.versions`, -1 where a side isn't known.

    Within one a load may be under way, so that what any of its versions says is right. Rows are
    those of the history, -1: none.
    """

    def __init__(self, history: EntityRows, entity: Rows, floor: Rows, ceiling: Rows) -> None:
        self.history, self.entity = history, entity
        self.first = np.maximum(floor, 0)
        self.last = np.maximum(
            np.where(ceiling >= 0, ceiling, len(history.versions) - 1), self.first
        )

    def holds(self, row: Rows) -> Mask:
        """bool[N]: whether one of its versions has the row."""
        return self._any(row >= 0, lambda place, at: self.history.held[place, row[at]])

    def shows(self, row: Rows) -> Mask:
        """bool[N]: whether last-writer-wins picks the row in one of its versions."""
        return self._any(row >= 0, lambda place, at: self._wins(place, row[at], self.entity[at]))

    def may_lack(self, gone: Callable[[Rows, Rows], Mask]) -> Mask:
        """bool[N]: whether in one of its versions there is no row, or Redis may lack it.

        `gone` is asked of rows and of places in N.
        """

        def lacks(place: int, at: Rows) -> Mask:
            best = self.history.winners[place, self.entity[at]]
            lacking: Mask = (best < 0) | gone(best, at)
            return lacking

        return self._any(np.ones(len(self.entity), bool), lacks)

    def coming(self, row: Rows) -> tuple[Mask, Mask]:
        """bool[N] twice: whether a later version has the row, and whether the first one shows it.

        A version shows the row that last-writer-wins picks.
        """
        place = np.full(len(row), -1)
        for later in reversed(range(len(self.history.versions))):
            at = np.flatnonzero((row >= 0) & (later > self.last))
            place[at[self.history.held[later, row[at]]]] = later
        held = place >= 0
        wins = held.copy()
        wins[held] = self._wins(place[held], row[held], self.entity[held])
        return held, wins

    def _wins(self, place: int | Rows, row: Rows, entity: Rows) -> Mask:
        held: Mask = self.history.held[place, row]
        best = self.history.winners[place, entity]
        return held & ~self.history.later(best, row)

    def _any(self, asked: Mask, says: Callable[[int, Rows], Mask]) -> Mask:
        holds = np.zeros(len(asked), bool)
        for place in range(len(self.history.versions)):
            at = np.flatnonzero(asked & ~holds & (self.first <= place) & (place <= self.last))
            holds[at] = says(place, at)
        return holds
