"""Refreshes of queues take a quarter of the time at most, and go on after a failing Redis."""

from __future__ import annotations

import threading

import pytest
import redis

from vidtopics.cli import event_service
from vidtopics.cli.event_monitoring import RETRY_S, Watch


class Clock:
    """Time that refreshes take and waits pass; `wait` ends the service after so many."""

    def __init__(self, takes_s: list[float]) -> None:
        self.now_s, self.takes_s = 0.0, takes_s
        self.waits_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def refresh(self) -> None:
        took_s = self.takes_s.pop(0)
        self.now_s += took_s
        if took_s == 0.5:
            raise redis.ConnectionError("gone")

    def wait(self, seconds: float) -> bool:
        self.waits_s.append(seconds)
        self.now_s += seconds
        return not self.takes_s


@pytest.mark.parametrize(
    ("took_s", "waits_s"),
    [
        ([0.1, 0.1], [0.0, 0.9, 0.9]),
        ([0.4, 0.1], [0.0, 1.2, 0.9]),
        ([8.0], [0.0, 24.0]),
        ([0.5, 0.1], [0.0, RETRY_S, 3 * 1.5, 0.9]),
    ],
    ids=["short", "long", "longest", "Redis is gone"],
)
def test_a_refresh_waits_three_times_as_long_as_it_took(
    monkeypatch: pytest.MonkeyPatch, took_s: list[float], waits_s: list[float]
) -> None:
    clock = Clock(took_s)
    monkeypatch.setattr(event_service.time, "monotonic", clock.monotonic)
    ended = threading.Event()
    monkeypatch.setattr(ended, "wait", clock.wait)
    event_service.refresh_at_a_pace(clock, 1.0, ended, Watch())
    assert clock.waits_s == pytest.approx(waits_s)
