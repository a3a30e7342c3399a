"""Prometheus metrics of the HTTP service; docs/operations.md has the table of names."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from consumers.serving.stages import Stage
from vidtopics.online.metrics import OnlineMetrics

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

PATHS = ("reading", "sending")
"""Requests that read and that send events have threads, room and a breaker each: the one kind must
not keep the other waiting, and Redis may be two servers'."""


class ServingMetrics:
    """Requests, how long they take, and in what they were answered less well.

    Args:
        registry: of this process.
        shared: whether `/metrics` adds up several workers, by the folder that the environment names
            since before prometheus_client was imported.

    >>> metrics = ServingMetrics(CollectorRegistry())
    >>> metrics.answered("/recommend", 200, 0.012, [Stage.RANKER])
    >>> value = metrics.registry.get_sample_value
    >>> value("vidtopics_serving_requests_total", {"route": "/recommend", "status": "200"})
    1.0
    >>> value("vidtopics_serving_degraded_total", {"stage": "ranker"})
    1.0
    """

    def __init__(self, registry: CollectorRegistry, *, shared: bool = False) -> None:
        self.registry = registry
        self._shared = shared
        self.online = OnlineMetrics(registry)
        self._requests = Counter(
            "vidtopics_serving_requests",
            "Requests by what they were answered with",
            ["route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "vidtopics_serving_seconds",
            "From the first byte of a request to the last of its answer",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self._degraded = Counter(
            "vidtopics_serving_degraded",
            "Answers that went without something",
            ["stage"],
            registry=registry,
        )
        self._release = Gauge(
            "vidtopics_serving_release",
            "The release that requests are answered from",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._event_lag = Gauge(
            "vidtopics_serving_event_lag_seconds",
            "How long the first event that isn't seen yet has waited; NaN: not known",
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        opened = "Times that Redis was found not to answer several requests in a row"
        unasked = "Requests that ended at once, as Redis didn't answer those before"
        busy = "Requests that ended at once, as enough were under way"
        self._opened, self._unasked, self._busy = (
            Counter(f"vidtopics_serving_{name}", text, ["path"], registry=registry)
            for name, text in (
                ("breaker_opened", opened),
                ("breaker_refused", unasked),
                ("busy", busy),
            )
        )
        for path in PATHS:
            for counter in (self._opened, self._unasked, self._busy):
                counter.labels(path)
        for stage in Stage:  # a counter that begins at its first event hides that event
            self._degraded.labels(stage)

    def answered(self, route: str, status: int, seconds: float, degraded: list[Stage]) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        for stage in degraded:
            self._degraded.labels(stage).inc()

    def breaker_opened(self, path: str) -> None:
        """Count a breaker that has opened; `path`: one of PATHS."""
        self._opened.labels(path).inc()

    def breaker_refused(self, path: str) -> None:
        """Count a request that it didn't let through."""
        self._unasked.labels(path).inc()

    def busy(self, path: str) -> None:
        """Count a request for which there was no room."""
        self._busy.labels(path).inc()

    def switched(self, release: int) -> None:
        """Show the release."""
        self._release.set(release)

    def lagged(self, lag_s: float | None) -> None:
        """Show how long events have waited; None: not known."""
        self._event_lag.set(math.nan if lag_s is None else lag_s)

    def page(self) -> bytes:
        """What `/metrics` says, of all workers."""
        if not self._shared:
            return generate_latest(self.registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)
