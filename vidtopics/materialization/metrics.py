"""Prometheus metrics of a materialiser; the only module here that needs prometheus_client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from vidtopics.materialization.reports import Moved

ADDRESS = "0.0.0.0"  # noqa: S104  a scraper is another machine


class RunMetrics:
    """Lag, what was moved, and what failed.

    Args:
        lag_s: seconds since the oldest release that isn't loaded became known; asked by scrapes.

    >>> metrics = RunMetrics(lambda: 12.5)
    >>> metrics.done([Moved("video_topics", 3, read=7, written=5)])
    >>> value = metrics.registry.get_sample_value
    >>> value("vidtopics_materialize_lag_seconds")
    12.5
    >>> value("vidtopics_materialize_rows_total", {"view": "video_topics"})
    5.0
    """

    def __init__(self, lag_s: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        head = "vidtopics_materialize"
        Gauge(
            f"{head}_lag_seconds",
            "Age of the oldest release that is not loaded; 0: none",
            registry=self.registry,
        ).set_function(lambda: _or_nan(lag_s))
        self._release = Gauge(
            f"{head}_release", "The release that the last round brought", registry=self.registry
        )
        self._rows = Counter(
            f"{head}_rows", "Values and lists written", ["view"], registry=self.registry
        )
        self._rebuilds = Counter(
            f"{head}_rebuilds", "Generations switched", ["view"], registry=self.registry
        )
        self._not_due = Gauge(
            f"{head}_not_due_rows", "Rows set aside until due", ["view"], registry=self.registry
        )
        self._success = Gauge(
            f"{head}_last_success_timestamp_seconds",
            "When a round last ended well",
            registry=self.registry,
        )
        self._errors = Counter(
            f"{head}_errors", "Rounds that failed", ["kind"], registry=self.registry
        )

    def serve(self, port: int) -> Callable[[], None]:
        """Answer scrapes on a port; what ends it."""
        server, thread = start_http_server(port, ADDRESS, self.registry)

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end

    def done(self, moved: Iterable[Moved]) -> None:
        """Count a round that ended well."""
        for m in moved:
            self._release.set(m.release)
            self._rows.labels(m.name).inc(m.written)
            self._rebuilds.labels(m.name).inc(bool(m.why))
            self._not_due.labels(m.name).set(m.not_due)
        self._success.set(time.time())

    def failed(self, error: Exception) -> None:
        """Count a round that didn't."""
        self._errors.labels(type(error).__name__).inc()


def _or_nan(lag_s: Callable[[], float]) -> float:
    """The lag, or NaN where the tables or Redis can't be asked.

    No scrape fails for that, and no alarm takes it for 0.
    """
    try:
        return lag_s()
    except Exception:
        return float("nan")
