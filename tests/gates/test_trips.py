"""Every gate tripped once: a healthy home, one change, and what the screen says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from gate_worlds import (
    NOW,
    TOPICS,
    World,
    healthy,
    names,
    queue_entry,
    statistics,
    tag_embedding,
    topic,
    unit,
    video_topics,
)
from rich.console import Console

from vidtopics import contracts
from vidtopics.contracts import (
    IMPRESSIONS,
    TOPIC_QUEUES,
    VIDEO_STATISTICS,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.gates import judge, render
from vidtopics.settings import GateSettings, Limits

V = names()
HOUR = 3_600_000_000
STRICT = GateSettings(
    least_keys=1,
    tables={
        "video_statistics.changed_share": Limits(warn=0.1, block=0.5),
        "video_tag_embedding.tag_embedding.zero_share": Limits(warn=0.1, block=0.5),
        "topic_queues.mean_queue": Limits(warn=2, block=1.5),
        "impressions.input_age_hours": Limits(warn=24, block=72),
    },
)


@dataclass(frozen=True)
class Trip:
    """A gate, what is done to a healthy home, and the line that the screen has of it."""

    gate: str
    change: Callable[[World], object]
    line: str


def vectors(world: World, *rows: tuple[str, list[float] | None]) -> None:
    world.put(VIDEO_TAG_EMBEDDING, [tag_embedding(v, vector) for v, vector in rows])


def everything_to(world: World, **change: object) -> None:
    world.put(VIDEO_TOPICS, [video_topics(v, [0], **change) for v in V])


def topic_pairs(world: World, pairs: list[list[int]]) -> None:
    rows = [video_topics(v, pairs[i % len(pairs)]) for i, v in enumerate(V)]
    world.put(VIDEO_TOPICS, rows)


TRIPS = (
    Trip(
        "video_statistics.rows",
        lambda w: w.put(VIDEO_STATISTICS, [{"video_id": v} for v in V]),
        "block video_statistics.rows 0 is below 1",
    ),
    Trip(
        "video_statistics.ended_share",
        lambda w: w.put(VIDEO_STATISTICS, [{"video_id": v} for v in V[:80]]),
        "block video_statistics.ended_share 0.4 is above 0.3",
    ),
    Trip(
        "video_statistics.appeared_share",
        lambda w: w.put(VIDEO_STATISTICS, [statistics(f"new{i}", 10) for i in range(2_400)]),
        "block video_statistics.appeared_share 12 is above 10",
    ),
    Trip(
        "video_statistics.changed_share",
        lambda w: w.put(VIDEO_STATISTICS, [statistics(v, 11) for v in V[:150]]),
        "block video_statistics.changed_share 0.75 is above 0.5",
    ),
    Trip(
        "video_statistics.video_clicks.null_share",
        lambda w: w.put(VIDEO_STATISTICS, [statistics(V[3], 10, video_clicks=None)]),
        "block video_statistics.video_clicks.null_share 0.005 is above 0",
    ),
    Trip(
        "video_tag_embedding.tag_embedding.null_share",
        lambda w: vectors(w, (V[3], None)),
        "block video_tag_embedding.tag_embedding.null_share 1 is above 0",
    ),
    Trip(
        "video_tag_embedding.tag_embedding.other_width_share",
        lambda w: vectors(w, (V[3], [1.0, 0.0, 0.0]), (V[4], unit(4))),
        "block video_tag_embedding.tag_embedding.other_width_share 0.5 is above 0",
    ),
    Trip(
        "video_tag_embedding.tag_embedding.not_finite_share",
        lambda w: vectors(w, (V[3], [float("nan"), 1.0, 0.0, 0.0])),
        "block video_tag_embedding.tag_embedding.not_finite_share 1 is above 0",
    ),
    Trip(
        "video_tag_embedding.tag_embedding.off_length_share",
        lambda w: vectors(w, (V[3], [2.0, 0.0, 0.0, 0.0])),
        "block video_tag_embedding.tag_embedding.off_length_share 1 is above 0",
    ),
    Trip(
        "video_tag_embedding.tag_embedding.zero_share",
        lambda w: vectors(w, *((v, [0.0] * 4) for v in V)),
        "block video_tag_embedding.tag_embedding.zero_share 1 is above 0.5",
    ),
    Trip(
        "video_topics.topic_ids.psi",
        lambda w: topic_pairs(w, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        "block video_topics.topic_ids.psi",
    ),
    Trip(
        "video_topics.topics_per_video",
        lambda w: w.put(VIDEO_TOPICS, [video_topics(v, []) for v in V[:180]]),
        "block video_topics.topics_per_video 0.2 is below 0.5",
    ),
    Trip(
        "video_topics.below_threshold_share",
        lambda w: everything_to(w, below_threshold=True),
        "block video_topics.below_threshold_share 1 is above 0.9",
    ),
    Trip(
        "video_topics.occupancy",
        lambda w: topic_pairs(w, [[0, 1], [2, 3], [4, 5], [6, 7]]),
        "block video_topics.occupancy 0.4 is below 0.5",
    ),
    Trip(
        "video_topics.gini",
        everything_to,
        "block video_topics.gini 0.95 is above 0.9",
    ),
    Trip(
        "video_topics.largest_share",
        everything_to,
        "block video_topics.largest_share 1 is above 0.5",
    ),
    Trip(
        "topics.ended_share",
        lambda w: w.put(contracts.TOPICS, [topic(i, retired=5) for i in range(8)]),
        "block topics.ended_share 0.4 is above 0.3",
    ),
    Trip(
        "topic_queues.no_queue_share",
        lambda w: w.put(TOPIC_QUEUES, [queue_entry(0, V[0]), queue_entry(0, V[1], 2)]),
        "block topic_queues.no_queue_share 0.95 is above 0.9",
    ),
    Trip(
        "topic_queues.mean_queue",
        lambda w: w.put(TOPIC_QUEUES, [queue_entry(t, V[0]) for t in range(TOPICS)]),
        "block topic_queues.mean_queue 1 is below 1.5",
    ),
    Trip(
        "impressions.input_age_hours",
        lambda w: w.put(IMPRESSIONS, [impression("e1", NOW - 100 * HOUR), impression("e2", NOW)]),
        "block impressions.input_age_hours 100 is above 72",
    ),
)
WARNINGS = (
    Trip(
        "video_tag_embedding.tag_embedding.width_change",
        lambda w: vectors(w, *((v, unit(i, 6)) for i, v in enumerate(V))),
        "warn video_tag_embedding.tag_embedding.width_change 2 is above 0",
    ),
    Trip(
        "topics.epoch_change",
        lambda w: w.put(contracts.TOPICS, [topic(i, topic_epoch=2) for i in range(TOPICS)]),
        "warn topics.epoch_change 1 is above 0",
    ),
)


def impression(event_id: str, event: int) -> dict[str, object]:
    return {
        "event_id": event_id,
        "user_id": "u",
        "video_id": V[0],
        "event_timestamp": event,
        "created_timestamp": event,
    }


def screen(world: World, before: dict[str, int], settings: GateSettings) -> list[str]:
    verdicts = judge(world.tables, before, world.versions, as_of_us=NOW, settings=settings)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(verdicts))
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def settings_of(trip: Trip) -> GateSettings:
    """Gini's greatest value at 20 topics is its block limit."""
    limits = Limits(warn=0.8, block=0.9)
    return STRICT.model_copy(update={"gini": limits}) if trip.gate.endswith("gini") else STRICT


@pytest.mark.parametrize("trip", [*TRIPS, *WARNINGS], ids=lambda trip: trip.gate)
def test_each_gate_trips(trip: Trip, tmp_path: Path) -> None:
    world = healthy(tmp_path)
    before = dict(world.versions)
    settings = settings_of(trip)
    quiet = world.judge(None, settings).values()
    assert not [v.text for v in quiet if v.verdict in ("warn", "block")]
    trip.change(world)
    verdict = world.judge(before, settings)[trip.gate]
    assert verdict.verdict == ("warn" if trip in WARNINGS else "block")
    assert any(line.startswith(trip.line) for line in screen(world, before, settings))
