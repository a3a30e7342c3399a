"""The greatest value of a figure while a block runs, looked at from a thread beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def sampled_peak(measure: Callable[[], float], every: float) -> Iterator[Callable[[], float]]:
    """Measure at the block's start, then every so many seconds, and at its end.

    Args:
        measure: gives the figure of the moment.
        every: seconds between two looks.

    >>> figures = iter([3.0, 1.0])
    >>> with sampled_peak(lambda: next(figures), every=60) as peak:
    ...     pass
    >>> peak()
    3.0
    """
    peak, stop = [measure()], threading.Event()

    def sample() -> None:
        while not stop.wait(every):
            peak[0] = max(peak[0], measure())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: peak[0]
    finally:
        stop.set()
        thread.join()
        peak[0] = max(peak[0], measure())
