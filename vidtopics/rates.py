"""The smoothed click-through rate, in one definition for arrays, data frames and numbers.

Tables and the online store hold counts. A rate depends on the prior as well, and so changes for
every video whenever anybody clicks anything; it is computed where it is used
(`docs/adr/0026-counts-not-rates.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, TypeVar


class _Arithmetic(Protocol):
    def __add__(self, other: float, /) -> Self: ...
    def __truediv__(self, other: Self, /) -> Self: ...


Counts = TypeVar("Counts", bound=_Arithmetic)


@dataclass(frozen=True)
class Prior:
    """What a video's rate is drawn to: `exposures` (w) imagined impressions at `global_ctr`."""

    global_ctr: float
    exposures: float

    @classmethod
    def of_totals(cls, clicks: float, impressions: float, *, exposures: float) -> Prior:
        """The prior whose rate is that of all impressions together; 0 where there are none.

        >>> Prior.of_totals(20, 100, exposures=10.0)
        Prior(global_ctr=0.2, exposures=10.0)
        """
        return cls(clicks / impressions if impressions else 0.0, exposures)


def smoothed_ctr(clicks: Counts, exposures: Counts, prior: Prior) -> Counts:
    """(clicks + w * global CTR) / (exposures + w).

    Counts are numpy arrays, columns of Spark, polars or pandas, or numbers.

    >>> import numpy as np
    >>> prior = Prior(global_ctr=0.2, exposures=10)
    >>> smoothed_ctr(np.array([0.0, 8.0]), np.array([0.0, 10.0]), prior)
    array([0.2, 0.5])
    """
    return (clicks + prior.exposures * prior.global_ctr) / (exposures + prior.exposures)
