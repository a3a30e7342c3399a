"""From when each row of a table was served: the releases that were live, and what they held."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Micros = NDArray[np.int64]
NEVER_US = 2**62
"""From when a row is served that never was."""


@dataclass(frozen=True, eq=False)
class Commits:
    """The commits to a table: the created time of their rows tells in which version these came.

    Attributes:
        created_us: int64[C], ascending.
        versions: int64[C].
    """

    created_us: Micros
    versions: NDArray[np.int64]

    @classmethod
    def of(cls, commits: Iterable[tuple[int, int]]) -> Commits:
        """From (created time, version); of one created time the first, whose rows came again.

        >>> Commits.of([(7, 3), (5, 1), (7, 2)]).versions_of(np.array([4, 5, 6, 7, 8])).tolist()
        [1, 1, 2, 2, 2]
        """
        first: dict[int, int] = {}
        for created, version in sorted(commits):
            first.setdefault(created, version)
        return cls(*_columns(list(first.items())))

    def versions_of(self, created_us: Micros) -> NDArray[np.int64]:
        """int64[M]: the version in which rows of these created times came.

        Of a time that no commit has, that of the next one; after the last one, the last.
        """
        if not len(self.versions):
            return np.zeros(len(created_us), np.int64)
        at = np.searchsorted(self.created_us, created_us)
        return self.versions[np.minimum(at, len(self.versions) - 1)]


@dataclass(frozen=True, eq=False)
class Stretch:
    """A stretch of time in which the version that is served only rises.

    Attributes:
        since_us: int64[L], ascending, when a later version went live.
        versions: int64[L], ascending, that version.
        commits: in which version a row came.
    """

    since_us: Micros
    versions: NDArray[np.int64]
    commits: Commits

    def served_us(self, created_us: Micros) -> Micros:
        """int64[M]: from when in this stretch rows of these created times were served."""
        at = np.searchsorted(self.versions, self.commits.versions_of(created_us))
        return np.append(self.since_us, NEVER_US)[at]


@dataclass(frozen=True, eq=False)
class Serving:
    """When the rows of one table were served.

    Attributes:
        starts_us: int64[S], ascending, when each stretch begins; it lasts until the next one.
        stretches: S of them. A rollback begins a new one, as readers lose rows by it.
    """

    starts_us: Micros
    stretches: Sequence[Stretch]

    @classmethod
    def of(
        cls, steps: Iterable[tuple[int, int]], commits: Commits, falls: Collection[int]
    ) -> Serving:
        """From (time, version that is served from then on), of one time the last.

        `falls`: the times at which a stretch begins: all those at which the version falls, of this
        table or of another one that is joined with it.

        >>> commits = Commits.of([(5, 1), (7, 3)])
        >>> serving = Serving.of([(100, 1), (200, 3), (300, 1)], commits, {300})
        >>> serving.starts_us.tolist()
        [100, 300]
        >>> [s.served_us(np.array([5, 7])).tolist() for s in serving.stretches]
        [[100, 200], [300, 4611686018427387904]]
        """
        groups: list[list[tuple[int, int]]] = []
        for step in sorted(dict(steps).items()):
            if not groups or step[0] in falls:
                groups.append([])
            groups[-1].append(step)
        stretches = [Stretch(*_columns(group), commits) for group in groups]
        return cls(np.array([group[0][0] for group in groups], np.int64), stretches)

    def places(self, times_us: Micros) -> NDArray[np.int64]:
        """int64[N]: the stretch in which each time lies; -1 before the first."""
        places: NDArray[np.int64] = np.searchsorted(self.starts_us, times_us, side="right") - 1
        return places


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[Micros, NDArray[np.int64]]:
    first, second = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    return first, second
