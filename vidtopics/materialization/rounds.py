"""Rounds of materialisation at a fixed pace, until a signal ends them."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """A duration as people write it; ValueError where it isn't one.

    >>> seconds("90s"), seconds("5m"), seconds("1h")
    (90.0, 300.0, 3600.0)
    """
    match = re.fullmatch(r"([1-9]\d*)([smh])", text)
    if not match:
        raise ValueError(f"{text!r}: write 30s, 5m or 1h")
    return float(match[1]) * SECONDS[match[2]]


def repeat(once: Callable[[], None], *, every_s: float, stop: Event) -> None:
    """Call `once` every `every_s` seconds, from start to start, until `stop` is set.

    A call that takes longer is followed at once.
    """
    while not stop.is_set():
        began = time.monotonic()
        once()
        stop.wait(max(0.0, every_s - (time.monotonic() - began)))


@contextmanager
def signals() -> Iterator[Event]:
    """Within the block SIGINT and SIGTERM set an event instead of ending the process."""
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
