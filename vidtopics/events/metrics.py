"""Prometheus metrics of what applies and lands events; needs the extra `metrics`.

docs/operations.md has the table of names, docs/alerts.yml the rules on them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Literal, cast

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from vidtopics.events.figures import Figures, Node
from vidtopics.layout.live import Part

Work = Literal["applying", "landing", "ordering"]
WORKS: tuple[Work, ...] = ("applying", "landing", "ordering")
LANDED_TABLES = ("impressions", "clicks")
REASONS = (
    *("no_event", "unknown_field", "bad_kind", "malformed", "no_text", "not_utf8", "empty_id"),
    *("long_id", "control_character", "bad_time", "early_time", "future_time", "bad_position"),
    *("bad_number", "not_finite", "negative_watch", "contradicting_click"),
    *("click_before_impression", "conflicting_rows", "reused_id", "changed_click"),
    "unknown_video",
)
"""For which events don't land (docs/realtime.md, docs/tables.md)."""

Value = tuple[Sequence[str], float]
"""Values of labels, and the gauge's."""


class FiguresCollector(Collector):
    """What the last look saw; NaN, or nothing where labels aren't known, while Redis is gone."""

    def __init__(self) -> None:
        self.figures: Figures | None = None

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The metrics of a scrape."""
        figures = self.figures
        yield _outcomes(figures.outcomes if figures else {})
        for name, text, number in (
            ("events_dead_letters", "Dead letters in Redis", figures and figures.dead),
            (
                "events_landing_age_seconds",
                "How long the first event that hasn't landed has waited",
                figures and figures.landing_age_s,
            ),
            ("events_generations", "Open generations", figures and figures.generations),
        ):
            value = math.nan if number is None else float(cast("float", number))
            yield _gauge(name, text, (), [((), value)])
        yield from _of_parts(figures)
        yield from _of_nodes(figures.nodes if figures else {})


def _of_parts(figures: Figures | None) -> Iterator[GaugeMetricFamily]:
    """What is known for each part of each generation, or for each part."""
    for name, text, of_parts in (
        (
            "events_lag_seconds",
            "How long the first entry that isn't applied has waited, worst bucket",
            figures and figures.lag_s,
        ),
        (
            "events_waiting_entries",
            "Entries that aren't applied, 1,000 a bucket at most",
            figures and figures.waiting,
        ),
    ):
        values = [((str(r), part), float(value)) for (r, part), value in (of_parts or {}).items()]
        yield _gauge(name, text, ("release", "part"), values)
    streams = figures.streams if figures else {}
    lengths = [((part,), float(count)) for part, count in streams.items()]
    yield _gauge("events_stream_entries", "Entries of the streams", ("part",), lengths)


def _of_nodes(nodes: Mapping[str, Node]) -> Iterator[GaugeMetricFamily]:
    for name, text, read in (
        ("redis_memory_used_bytes", "Memory in use", attrgetter("used")),
        ("redis_memory_max_bytes", "maxmemory; 0: no limit", attrgetter("limit")),
        (
            "redis_log_written",
            "1: the append-only log could be written last time, or there is none; 0",
            attrgetter("log_written"),
        ),
    ):
        values = [((address,), float(read(node))) for address, node in nodes.items()]
        yield _gauge(name, text, ("node",), values)


def _outcomes(counts: Mapping[tuple[int, Part, str], int]) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "vidtopics_events_outcomes",
        "Entries by what became of them",
        labels=["release", "part", "outcome"],
    )
    for (release, part, outcome), count in counts.items():
        family.add_metric([str(release), part, outcome], count)
    return family


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[Value]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"vidtopics_{name}", text, labels=labels)
    for of_labels, value in values:
        family.add_metric(of_labels, value)
    return family


class EventMetrics:
    """Rounds of applying and landing in this process, and what the last look at Redis saw.

    >>> metrics = EventMetrics()
    >>> metrics.applied(400)
    >>> metrics.ended("landing", OSError())
    >>> value = metrics.registry.get_sample_value
    >>> value("vidtopics_events_applied_entries_total")
    400.0
    >>> value("vidtopics_events_errors_total", {"work": "landing", "kind": "OSError"})
    1.0
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._entries = self._counter("applied_entries", "Entries that this process applied")
        self._rounds = self._counter("rounds", "Rounds by how they ended", "work", "outcome")
        self._errors = self._counter("errors", "Rounds that failed", "work", "kind")
        self._failures = self._gauge(
            "consecutive_failures", "Rounds that failed one after the other", "work"
        )
        self._success = self._gauge(
            "last_success_timestamp_seconds", "When a round last ended well", "work"
        )
        self._landed = self._counter("landed_rows", "Rows that this process landed", "table")
        self._refused = self._counter("refused", "Events that didn't land as rows", "reason")
        self._held = self._gauge("held", "Events ahead of the clock that wait for their time")
        self._of_look = FiguresCollector()
        self.registry.register(self._of_look)
        for work in WORKS:  # a counter that begins at its first event hides that event
            self._success.labels(work).set(time.time())
            self._failures.labels(work).set(0)
            for outcome in ("ok", "failed"):
                self._rounds.labels(work, outcome)
        for table in LANDED_TABLES:
            self._landed.labels(table)
        for reason in REASONS:
            self._refused.labels(reason)

    def applied(self, entries: int) -> None:
        """Count entries."""
        self._entries.inc(entries)

    def landed(self, rows: Mapping[str, int], refused: Mapping[str, int], held: int) -> None:
        """Count what a part of a landing brought."""
        for table, count in rows.items():
            self._landed.labels(table).inc(count)
        for reason, count in refused.items():
            self._refused.labels(reason).inc(count)
        self._held.set(held)

    def ended(self, work: Work, error: Exception | None = None) -> None:
        """Count a round."""
        self._rounds.labels(work, "failed" if error else "ok").inc()
        if error:
            self._errors.labels(work, type(error).__name__).inc()
            self._failures.labels(work).inc()
        else:
            self._failures.labels(work).set(0)
            self._success.labels(work).set(time.time())

    def observe(self, figures: Figures | None) -> None:
        """Show a look from now on; None: Redis can't be asked."""
        self._of_look.figures = figures

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"vidtopics_events_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"vidtopics_events_{name}", text, labels, registry=self.registry)
