"""Prometheus metrics of a client's reads; needs the extra `metrics`.

::

    metrics = OnlineMetrics()  # one per process; several clients may share it
    client = OnlineClient.from_url(url, metrics=metrics)

Counters and histograms alone, which Prometheus's multi-process mode adds up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from vidtopics.layout.live import PARTS, Part
from vidtopics.online.features import Features, Status

SECONDS = (0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
MINUTE, HOUR, DAY = 60, 3_600, 86_400
AGES = (
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    30 * DAY,
    90 * DAY,
    365 * DAY,
)


class OnlineMetrics:
    """How long reads take, what they find and how old that is.

    ===================================  ===========================================================
    `vidtopics_online_read_seconds`      histogram: reads that gave an answer
    `vidtopics_online_ids_total`         counter by `view` and `status` (present, null, ...)
    `vidtopics_online_age_seconds`       histogram by `view` and `of`: per read, the time since the
                                         median and the oldest present value became known
    `vidtopics_online_errors_total`      counter by `error`: reads that raised, by exception class
    `vidtopics_online_damaged_total`     counter by `part` (user, video): live values that couldn't
                                         be parsed, each time that one was read
    ===================================  ===========================================================

    >>> registry = CollectorRegistry()
    >>> with OnlineMetrics(registry).reading() as answers:
    ...     pass  # a read of no view
    >>> next(iter(registry.collect())).name
    'vidtopics_online_read_seconds'
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or REGISTRY
        self._seconds = Histogram(
            "vidtopics_online_read_seconds", "Time of a read", buckets=SECONDS, registry=registry
        )
        self._ids = Counter(
            "vidtopics_online_ids", "Ids that were read", ["view", "status"], registry=registry
        )
        self._age = Histogram(
            "vidtopics_online_age_seconds",
            "Time since values became known",
            ["view", "of"],
            buckets=AGES,
            registry=registry,
        )
        self._errors = Counter(
            "vidtopics_online_errors", "Reads that raised", ["error"], registry=registry
        )
        self._damaged = Counter(
            "vidtopics_online_damaged",
            "Live values that were read and can't be parsed",
            ["part"],
            registry=registry,
        )
        for part in PARTS:  # a counter that begins at its first event hides that event
            self._damaged.labels(part)

    @contextmanager
    def reading(self) -> Iterator[list[tuple[str, Features]]]:
        """Around a read, which puts its views and answers into the list."""
        answers: list[tuple[str, Features]] = []
        began = time.perf_counter()
        try:
            yield answers
        except BaseException as error:  # an async read that a deadline cancels too
            self._errors.labels(type(error).__name__).inc()
            raise
        self._seconds.observe(time.perf_counter() - began)
        for view, features in answers:
            self._count(view, features)

    def damaged(self, part: Part, number: int) -> None:
        """Count live values of users, or of videos, that couldn't be parsed."""
        self._damaged.labels(part).inc(number)

    def _count(self, view: str, features: Features) -> None:
        for status, ids in enumerate(np.bincount(features.status).tolist()):
            if ids:
                self._ids.labels(view, Status(status).name.lower()).inc(ids)
        known_us = features.created_us[features.present]
        if len(known_us):
            half = len(known_us) // 2
            known_us.partition((0, half))
            now = time.time()
            self._age.labels(view, "median").observe(now - known_us[half] / 1e6)
            self._age.labels(view, "oldest").observe(now - known_us[0] / 1e6)
