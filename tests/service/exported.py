"""What our exporters export: sample names with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from consumers.serving.metrics import ServingMetrics
from vidtopics.events.metrics import EventMetrics
from vidtopics.online.metrics import OnlineMetrics
from vidtopics.service.metrics import ServiceMetrics
from vidtopics.service.rounds import Work

WORKS = [Work("materialize", 300, dict), Work("run", 3_600, dict)]


def labels_of(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Each name that a query may ask for, with the labels of its samples."""
    exported = {}
    for collector, names in registry._collector_to_names.items():
        if not hasattr(collector, "_labelnames"):  # families made anew by each scrape
            exported |= {_name(family): set(family._labelnames) for family in collector.collect()}
            continue
        labels = set(collector._labelnames)
        for name in names:
            exported[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return exported


def _name(family: Any) -> str:
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def service_registry() -> CollectorRegistry:
    return ServiceMetrics(Path(), WORKS).registry


def online_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    OnlineMetrics(registry)
    return registry


def serving_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ServingMetrics(registry)
    return registry


def events_registry() -> CollectorRegistry:
    return EventMetrics().registry
