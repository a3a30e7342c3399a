"""Memory in Redis per video and per user: our packed values against Feast's layout.

Each is written to a fresh server, without expiry; and what an expiry costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from benchmarks import homes
from benchmarks.data import Slots
from benchmarks.figures import Figure, Scale, Target, figure
from benchmarks.materialize import prepare_feast, prepare_ours
from benchmarks.quiet import quietly
from vidtopics.contracts import VIDEO_TOPICS, VIEWS
from vidtopics.layout import Schema, encode
from vidtopics.materialization import StoreWriter

DAY_US = 86_400_000_000
PEER = "Feast's Redis store"
TOPICS = ("video_topics",)


@dataclass(frozen=True)
class Sizes:
    """Videos with topics alone, and with all views (vectors take Feast a while)."""

    videos: int
    with_vectors: int


SIZES: dict[Scale, Sizes] = {"full": Sizes(200_000, 20_000), "smoke": Sizes(2_000, 500)}


def run(scale: Scale) -> list[Figure]:
    """Bytes of `used_memory` per video."""
    sizes = SIZES[scale]
    cases: list[tuple[str, tuple[str, ...], int, Slots, list[Target]]] = [
        (
            "video_topics, all fields, 8 topics",
            TOPICS,
            sizes.videos,
            "full",
            [Target("share", 0.8)],
        ),
        ("video_topics, all fields, 1 to 8 topics", TOPICS, sizes.videos, "mixed", []),
        (
            "video_topics and video_statistics",
            (*TOPICS, "video_statistics"),
            sizes.with_vectors,
            "full",
            [],
        ),
        (
            "all 4 views of videos, vectors of 128 and 512",
            of_entity("video"),
            sizes.with_vectors,
            "full",
            [Target("share", 1.1)],
        ),
        (
            "all 4 views of users, 32 clicks, 32 skips, 24 topics and 8 parents",
            of_entity("user"),
            sizes.with_vectors,
            "full",
            [],
        ),
    ]
    figures = []
    for name, views, videos, slots, targets in cases:
        ours, theirs = bytes_per_video(views, videos, slots)
        figures.append(
            figure(
                "memory",
                f"{name}, {'a user' if 'users' in name else 'a video'}",
                "bytes",
                [ours],
                [theirs],
                PEER,
                targets,
                compare="share",
                note=f"{videos:,} videos",
            )
        )
    lasting, expiring = (_with_ttl(ttl_us, sizes.videos) for ttl_us in (0, DAY_US))
    figures.append(
        figure(
            "memory",
            "video_topics with a TTL, which Redis keeps as an expiry, a video",
            "bytes",
            [expiring],
            [lasting],
            "the same without",
            compare="share",
            note=f"{sizes.videos:,} videos",
        )
    )
    return figures


def of_entity(name: str) -> tuple[str, ...]:
    """The views of an entity."""
    return tuple(t.name for t in VIEWS.values() if t.view and t.view.entity == name)


def bytes_per_video(views: tuple[str, ...], videos: int, slots: Slots) -> tuple[float, float]:
    """Ours and Feast's: how much a fresh server grew."""
    with homes.folder() as home:
        homes.fill(home, views, videos, slots=slots)
        ours = _growth(lambda url: prepare_ours(str(home), url), videos)
        theirs = _growth(
            lambda url: prepare_feast(str(home), url, "delta", " ".join(views)), videos
        )
    return ours, theirs


def _with_ttl(ttl_us: int, videos: int) -> float:
    schema, now = Schema.of(VIDEO_TOPICS), [time.time_ns() // 1000] * videos
    ids = [b"v%07d" % i for i in range(videos)]
    with homes.redis_server() as url:
        writer = StoreWriter(redis.Redis.from_url(url))
        load = writer.load(writer.register(VIDEO_TOPICS.name, schema, ttl_us))
        before = homes.used_memory(url)
        nothing = {f.name: f.empty(videos) for f in schema.fields}
        marks = load.space.fingerprints(ids)
        load.add(ids, encode(schema, nothing, fingerprints=marks, event_us=now, created_us=now))
        load.finish()
        return (homes.used_memory(url) - before) / videos


def _growth(prepare: Callable[[str], Callable[[], object]], videos: int) -> float:
    with homes.redis_server() as url:
        before = homes.used_memory(url)
        quietly(prepare(url))
        return (homes.used_memory(url) - before) / videos
