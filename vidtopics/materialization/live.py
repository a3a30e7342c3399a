"""Generations of live state follow the releases: one is full before its release can be read.

The invariant, of each bucket: a generation's state is what the batch's rules say of the stream's
entries up to its cursor, of those whose events are not before the release's as-of time. A
generation is opened before the switch that makes its release live, and brought to the end of the
streams; the consumer goes on from its cursor. It stays as long as a live entry or a record names
the release.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, cast

from vidtopics.contracts import TOPIC_QUEUES, VIDEO_STATISTICS
from vidtopics.events.applying import Applier
from vidtopics.events.generations import (
    Generation,
    drop,
    keys_of,
    open_generation,
    opened,
)
from vidtopics.events.queue_sets import QueueSet, drop_set, known_sets
from vidtopics.layout import ViewEntry, Watermark, place
from vidtopics.layout.known import known_fields
from vidtopics.materialization.generations import entries_of
from vidtopics.materialization.records import parse_records
from vidtopics.online.connections import Connection
from vidtopics.online.live import LIVE_VIEWS
from vidtopics.settings import Settings
from vidtopics.tables import Tables
from vidtopics.tables.releases import newest


@dataclass(frozen=True)
class Applying:
    """How the prefix's events are applied: what a run of `materialize` needs to do the same.

    It lies under `applying` from the first consumer on; without it nobody applies events.
    """

    recent: int
    max_ahead_us: int
    half_life_us: int

    @classmethod
    def of(cls, applier: Applier) -> Applying:
        """How an applier does it."""
        return cls(applier.recent, applier.ahead_us, applier.half_life_us)

    @classmethod
    def parse(cls, text: bytes | None) -> Applying | None:
        """From what lies there; None where nobody applies, or a consumer of before this version."""
        plain = known_fields(cls, json.loads(text)) if text else {}
        return cls(**plain) if "half_life_us" in plain else None


def begin(connection: Connection, settings: Settings) -> Applier:
    """What applies the prefix's events; from now on runs of `materialize` prepare generations.

    Raises:
        StoreError: nothing was loaded under the prefix.
    """
    prefix = settings.online.prefix
    applier = Applier(
        connection,
        keys_of(connection, prefix),
        recent=settings.recall.recent_clicks,
        max_ahead=settings.online.max_ahead,
        half_life=settings.statistics.half_life,
    )
    connection.set(place(prefix, "applying"), json.dumps(asdict(Applying.of(applier))))
    return applier


def follow(applier: Applier) -> None:
    """Go on where the prefix was emptied and loaded again, maybe with other buckets.

    Raises:
        StoreError: nothing was loaded since.
    """
    connection, prefix = applier.connection, applier.keys.prefix
    applier.keys = keys_of(connection, prefix)
    text = json.dumps(asdict(Applying.of(applier)))
    connection.set(place(prefix, "applying"), text, nx=True)


def synchronise(tables: Tables, applier: Applier) -> list[Generation]:
    """Open what readers may need, drop what none can name any more. Returns what readers go by.

    A release that the tables don't know (only its values are there) has no generation, nor has one
    whose events the streams have no longer: its readers see the batch's values alone.

    Raises:
        StoreError: the prefix was emptied.
    """
    follow(applier)
    connection, keys = applier.connection, applier.keys
    live, retained, sets = _named(connection, keys.prefix)
    last_set = max((_age(queues) for queues in sets), default=(0, 0))
    for queues in known_sets(connection, keys.prefix).keys() - sets:
        if _age(queues) < last_set:
            drop_set(connection, keys, queues)
    known = opened(connection, keys.prefix)
    newest_named = max(live | retained, default=0)
    for release in known.keys() - live - retained:
        if release < newest_named:  # a later one is being prepared
            drop(connection, keys, release)
    times = _as_of(tables, live)
    generations = [Generation(release, times[release]) for release in sorted(times)]
    # Also those that are known: who opened one may have died on the way.
    return [g for g in generations if open_generation(connection, keys, g)]


def prepare(tables: Tables, connection: Connection, prefix: str, release: int) -> int:
    """Bring the generation of a release to the end of the streams; the entries that it took.

    Nothing is done where nobody applies events.
    """
    text = cast("bytes | None", connection.get(place(prefix, "applying")))
    applying = Applying.parse(text)
    times = _as_of(tables, {release}) if applying else {}
    if not applying or release not in times:
        return 0
    applier = _applier(connection, prefix, applying)
    generation = Generation(release, times[release])
    if not open_generation(connection, applier.keys, generation):
        return 0
    return applier.apply(generation)


def _applier(connection: Connection, prefix: str, applying: Applying) -> Applier:
    return Applier(
        connection,
        keys_of(connection, prefix),
        recent=applying.recent,
        max_ahead=timedelta(microseconds=applying.max_ahead_us),
        half_life=timedelta(microseconds=applying.half_life_us),
    )


def _named(connection: Connection, prefix: str) -> tuple[set[int], set[int], set[QueueSet]]:
    """Releases that readers go by now, those of records that they may go back to; all queues."""
    with connection.pipeline(transaction=False) as pipe:
        for name in ("views", "structures", "releases"):
            pipe.hgetall(place(prefix, name))
        views, structures, texts = cast("list[dict[bytes, bytes]]", pipe.execute())
    entries, records = entries_of(views), parse_records(texts)
    retained = (_releases(record.entries) for record in records)
    facts = structures.get(TOPIC_QUEUES.name.encode())
    sets = _sets(entries, facts).union(
        *(_sets(r.entries, r.structures.get(TOPIC_QUEUES.name)) for r in records)
    )
    return _releases(entries), set().union(*retained), sets


def _sets(entries: Mapping[str, ViewEntry], facts: str | bytes | None) -> set[QueueSet]:
    """The live queues that go with views and lists."""
    load = json.loads(facts).get("load") if facts else None
    entry = entries.get(VIDEO_STATISTICS.name)
    if not load or entry is None or not entry.source:
        return set()
    return {QueueSet(Watermark.parse(entry.source.encode()).release, load)}


def _age(queues: QueueSet) -> tuple[int, int]:
    """Sets that are prepared come behind all that were."""
    return queues.load, queues.release


def _releases(entries: Mapping[str, ViewEntry]) -> set[int]:
    """The releases whose generations go with the views' values."""
    sources = (entry.source for name, entry in entries.items() if name in LIVE_VIEWS)
    return {Watermark.parse(source.encode()).release for source in sources if source}


def _as_of(tables: Tables, releases: Collection[int]) -> dict[int, int]:
    """The as-of times of releases, of those that the tables know."""
    times: dict[int, int] = {}
    log: Iterable[Any] = newest(tables) if releases else ()
    for row in log:
        if row.release_id in releases:
            times.setdefault(row.release_id, row.as_of_us)
            if len(times) == len(releases):
                break
    return times
