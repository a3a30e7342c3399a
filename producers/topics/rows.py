"""Some rows of an array that is too large to copy them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of an array by their numbers; indices count among these rows.

    Attributes:
        array: float32[N, D], may be a memory map.
        numbers: int64[R], ascending but for a sample's.

    >>> rows = Rows(np.arange(10, 15, dtype=np.float32)[:, None], np.array([0, 2, 4]))
    >>> rows.count, rows.take(np.array([2, 0])).tolist()
    (3, [[14.0], [10.0]])
    >>> rows.restrict(np.array([False, True, True])).take().tolist()
    [[12.0], [14.0]]
    """

    array: NDArray[np.float32]
    numbers: NDArray[np.int64]

    @property
    def count(self) -> int:
        """R."""
        return len(self.numbers)

    def take(self, at: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float32]:
        """A copy of those, float32[len(at), D]; of all without `at`."""
        return np.asarray(self.array[self.numbers[at]])

    def restrict(self, to: NDArray[np.bool_]) -> Rows:
        """Those of a mask, bool[R]."""
        return Rows(self.array, self.numbers[to])

    def sample(self, size: int, rng: np.random.Generator) -> Rows:
        """`size` of them in random order; all, in theirs, where there are no more."""
        if self.count <= size:
            return self
        return Rows(self.array, self.numbers[rng.choice(self.count, size, replace=False)])

    def draw(self, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """A copy of :meth:`sample`."""
        return self.sample(size, rng).take()
