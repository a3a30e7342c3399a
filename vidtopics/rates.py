"""The smoothed click-through rate, in one definition for arrays, data frames and numbers.

Tables and the online store hold counts. A rate depends on the prior as well, and so changes for
every video whenever anybody clicks anything; it is computed where it is used
(`docs/adr/0026-counts-not-rates.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _Arithmetic(Protocol):
    def __add__(self, other: float, /) -> Self: ...
    def __truediv__(self, other: Self, /) -> Self: ...


Counts = TypeVar("Counts", bound=_Arithmetic)
Floats = TypeVar("Floats", float, "NDArray[np.float64]")


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


def decayed(value: Floats, since_us: Floats, at_us: Floats, half_life: timedelta) -> Floats:
    """A decayed count of one time as of a later one: value / 2 ** ((at - since) / half-life).

    Args:
        value: the count as of `since_us`, as `user_statistics` has it.
        since_us: microseconds; `user_decayed_at`.
        at_us: microseconds, no earlier.
        half_life: `users.half_life`.

    >>> day_us = 86_400_000_000
    >>> decayed(8.0, 1 * day_us, 15 * day_us, timedelta(days=7))
    2.0
    """
    halvings: Floats = (at_us - since_us) / (half_life / timedelta(microseconds=1))
    share: Floats = 0.5**halvings
    return value * share


def halved(since: str, at: str, half_life: timedelta) -> str:
    """SQL for the factor of :func:`decayed` between two times in microseconds.

    >>> halved("us", "last_us", timedelta(seconds=1))
    'POWER(CAST(0.5 AS DOUBLE), (last_us - us) / CAST(1000000.0 AS DOUBLE))'
    """
    half_us = half_life / timedelta(microseconds=1)
    return f"POWER(CAST(0.5 AS DOUBLE), ({at} - {since}) / CAST({half_us!r} AS DOUBLE))"
