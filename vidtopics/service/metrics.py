"""Prometheus metrics of a service; the only module here that needs prometheus_client.

docs/operations.md has the table of names, docs/alerts.yml the rules on them.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vidtopics.materialization.reports import Moved
from vidtopics.service.rounds import Outcome, Round, Work
from vidtopics.service.status import Status

MINUTE, HOUR = 60, 3_600
ROUND_SECONDS = (0.1, 0.5, 1, 5, 15, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR)


class StatusCollector(Collector):
    """What a status says, and the room on the home's disk, as gauges."""

    def __init__(self, home: Path) -> None:
        self.status = Status()
        self._home = home

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges of a scrape."""
        status = self.status
        for name, text, value in (
            ("release_in_force", "The release that consumers move to", status.in_force),
            ("release_live", "The release that Redis has live", status.live),
            (
                "materialize_lag_seconds",
                "Age of the oldest release that is not loaded; 0: none",
                status.lag_now_s(),
            ),
            (
                "release_waiting_seconds",
                "For how long a release has waited for a person; 0: none waits",
                status.waiting_now_s(),
            ),
            ("home_free_bytes", "Free on the disk of the home", _free_bytes(self._home)),
        ):
            yield GaugeMetricFamily(
                f"vidtopics_{name}", text, value=math.nan if value is None else value
            )
        for name, text, label, values in (
            ("release_latest", "Greatest release id of a state", "state", status.latest),
            ("gate_figure", "Of the newest release that was judged", "gate", status.figures),
            ("gate_verdict", "0 ok, 1 warn, 2 block", "gate", status.verdicts),
        ):
            family = GaugeMetricFamily(f"vidtopics_{name}", text, labels=[label])
            for key, number in values.items():
                family.add_metric([key], number)
            yield family


class ServiceMetrics:
    """Rounds, releases, gates, what was moved, and the room on the home's disk.

    Args:
        home: whose disk is looked at.
        works: of the service.

    >>> metrics = ServiceMetrics(Path(), [Work("materialize", 300, dict)])
    >>> facts = {"moved": [Moved("video_topics", 3, read=7, written=5)]}
    >>> metrics.ended(Round("materialize", 1, Outcome.OK, 0.2, 0, facts))
    >>> metrics.ended(Round("materialize", 2, Outcome.FAILED, 0.2, 1, {}, OSError()))
    >>> value = metrics.registry.get_sample_value
    >>> value("vidtopics_materialize_rows_total", {"view": "video_topics"})
    5.0
    >>> value("vidtopics_round_consecutive_failures", {"work": "materialize"})
    1.0
    """

    def __init__(self, home: Path, works: Sequence[Work]) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "vidtopics_round_seconds",
            "Duration of a round",
            ["work"],
            buckets=ROUND_SECONDS,
            registry=self.registry,
        )
        self._rounds = self._counter(
            "round_outcomes", "Rounds by how they ended", "work", "outcome"
        )
        self._errors = self._counter("round_errors", "Rounds that failed", "work", "kind")
        self._failures = self._gauge(
            "round_consecutive_failures", "Rounds that failed one after the other", "work"
        )
        self._success = self._gauge(
            "round_last_success_timestamp_seconds", "When a round last ended well", "work"
        )
        pace = self._gauge("round_interval_seconds", "From start to start of a round", "work")
        self._rows = self._counter("materialize_rows", "Values and lists written", "view")
        self._rebuilds = self._counter("materialize_rebuilds", "Generations switched", "view")
        self._not_due = self._gauge("materialize_not_due_rows", "Rows set aside until due", "view")
        self._damaged = self._gauge(
            "materialize_damaged", "1: left behind at the release before", "view"
        )
        self._of_status = StatusCollector(home)
        self.registry.register(self._of_status)
        for work in works:
            pace.labels(work.name).set(work.every_s)
            self._success.labels(work.name).set(time.time())  # no alarm before the first rounds
            self._failures.labels(work.name).set(0)
            for outcome in Outcome:  # a counter that begins at its first event hides that event
                self._rounds.labels(work.name, outcome)

    def ended(self, round: Round) -> None:
        """Count a round, and what it moved."""
        self._seconds.labels(round.work).observe(round.seconds)
        self._rounds.labels(round.work, round.outcome).inc()
        self._failures.labels(round.work).set(round.failures)
        if round.outcome == Outcome.OK:
            self._success.labels(round.work).set(time.time())
        if round.outcome == Outcome.FAILED:
            self._errors.labels(round.work, type(round.error).__name__).inc()
        self._moved(round.facts.get("moved", ()))

    def _moved(self, moved: Iterable[Moved]) -> None:
        for m in moved:
            self._rows.labels(m.name).inc(m.written)
            self._rebuilds.labels(m.name).inc(bool(m.why))
            self._not_due.labels(m.name).set(m.not_due)
            self._damaged.labels(m.name).set(bool(m.error))

    @property
    def status(self) -> Status:
        """The status that is shown."""
        return self._of_status.status

    def observe(self, status: Status) -> None:
        """Show a status from now on."""
        self._of_status.status = status

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"vidtopics_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"vidtopics_{name}", text, labels, registry=self.registry)


def _free_bytes(home: Path) -> float:
    try:
        return shutil.disk_usage(home).free
    except OSError:
        return math.nan
