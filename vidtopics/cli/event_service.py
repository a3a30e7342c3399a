"""The service behind `vidtopics events apply`: it applies events, lands them, and orders queues."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from vidtopics.cli.event_monitoring import RETRY_S, Watch

if TYPE_CHECKING:
    from vidtopics.events.applying import Applier
    from vidtopics.ingest.landing import Landed
    from vidtopics.materialization.live_queues import QueueRefresher
    from vidtopics.online.connections import Connection
    from vidtopics.settings import Settings

POLL_S = 0.02
"""Between two looks at the streams; an event is seen about half of it after it is acknowledged."""
FOLLOW_S = 1.0
"""Between two looks for another release."""
ROUNDS = 5
"""Calls to apply between two looks at the other generations and at the end of the service."""
STARTED = "applying events until SIGINT or SIGTERM"
LAST_LANDINGS = 5
"""Tries to land what came until the end."""
REFRESH_SHARE = 0.25
"""Of the time that refreshes of queues may take, so that applying isn't kept waiting."""
MARK = "events-applied"
"""A file of the home: events are applied with it, so that runs land them first."""


def begin(connection: Connection, settings: Settings, tables: Any) -> Applier:
    """A consumer of the streams of the home's prefix; OwnerError where another home has it."""
    from vidtopics.cli import stores
    from vidtopics.materialization import live, owners

    owners.check(connection, settings.online.prefix, tables)
    applier = live.begin(connection, settings)
    applier.warn = stores.print_warning
    (tables.home / MARK).touch()
    return applier


def begin_once_loaded(
    connection: Connection, settings: Settings, tables: Any, ended: threading.Event
) -> Applier | None:
    """As :func:`begin`; while the server loads its data set it waits, to the end at most: None."""
    from redis.exceptions import BusyLoadingError

    while True:
        try:
            return begin(connection, settings, tables)
        except BusyLoadingError as error:
            typer.echo(f"waiting for Redis: {error}", err=True)
        if ended.wait(RETRY_S):
            return None


def apply_all(tables: Any, applier: Applier) -> int:
    """Apply all entries to every generation; returns how many there were."""
    from vidtopics.materialization.live import synchronise

    return sum(applier.apply(generation) for generation in synchronise(tables, applier))


def land(
    tables: Any,
    applier: Applier,
    settings: Settings,
    ended: threading.Event | None = None,
    watch: Watch | None = None,
) -> Landed:
    """Land and trim, round by round; the rest is left for another time once `ended` is set."""
    from vidtopics.ingest.landing import Landed, land_in_rounds

    landed, ahead = Landed(), settings.online.max_ahead
    connection, keys = applier.connection, applier.keys
    for part in land_in_rounds(tables, connection, keys, settings.ingest, ahead):
        landed.add(part)
        if watch:
            watch.landed(part)
        _trim(applier, settings)
        if ended is not None and ended.is_set():
            break
    return landed


def _trim(applier: Applier, settings: Settings) -> int:
    from datetime import timedelta

    from vidtopics.events.trimming import trim

    ahead_us = settings.online.max_ahead // timedelta(microseconds=1)
    return trim(applier.connection, applier.keys, ahead_us)


def refresher_of(tables: Any, applier: Applier, settings: Settings) -> QueueRefresher:
    """What keeps the queues of the consumer's prefix."""
    from vidtopics.cli.stores import load_ordering
    from vidtopics.materialization.live_queues import QueueRefresher

    prefix = settings.online.prefix
    return QueueRefresher(applier.connection, prefix, tables, load_ordering(settings))


def serve(
    tables: Any,
    applier: Applier,
    settings: Settings,
    land_every: float,
    watch: Watch,
    ended: threading.Event,
) -> None:
    """Apply in short rounds; land and trim, and order queues, in threads beside that."""

    def land_once() -> bool:
        landed = None
        with watch.passing("landing"):
            landed = land(tables, applier, settings, ended, watch)
            if landed.entries:
                typer.echo(landed_line(landed), err=True)
        return landed is not None

    refresher = refresher_of(tables, applier, settings)
    refresh_s = settings.queues.refresh.total_seconds()
    typer.echo(STARTED, err=True)
    with ThreadPoolExecutor(2, "beside") as pool:
        works = [
            pool.submit(land_repeatedly, ended, land_every, land_once),
            pool.submit(refresh_at_a_pace, refresher, refresh_s, ended, watch),
        ]
        for work in works:
            work.add_done_callback(lambda _: ended.set())  # a bug there ends the service
        try:
            apply_in_rounds(tables, applier, ended, watch)
        finally:
            ended.set()
    for work in works:
        work.result()


class Refreshable(Protocol):
    """What has queues to keep."""

    def refresh(self) -> object:
        """Bring them to what was applied until now."""


def refresh_at_a_pace(
    refresher: Refreshable, every_s: float, ended: threading.Event, watch: Watch
) -> None:
    """Refresh the queues each `every_s`, and no more than :data:`REFRESH_SHARE` of the time."""
    wait_s = 0.0
    while not ended.wait(wait_s):
        began = time.monotonic()
        with watch.passing("ordering", ended):
            refresher.refresh()
        took_s = time.monotonic() - began
        wait_s = max(every_s - took_s, took_s * (1 / REFRESH_SHARE - 1))


def apply_in_rounds(tables: Any, applier: Applier, ended: threading.Event, watch: Watch) -> None:
    """Apply until the end, the newest generation first; it waits only where nothing came."""
    from vidtopics.materialization.live import synchronise

    generations: list[Any] = []
    looked = 0.0
    while not ended.is_set():
        applied = 0
        with watch.passing("applying", ended):
            if time.monotonic() - looked >= FOLLOW_S:
                generations, looked = synchronise(tables, applier), time.monotonic()
                watch.follow(generations)
            for generation in reversed(generations):  # what most readers go by is the newest
                if not ended.is_set():
                    applied += applier.apply(generation, rounds=ROUNDS)
        watch.applied(applied)
        if not applied:
            ended.wait(POLL_S)


def land_repeatedly(ended: threading.Event, every_s: float, land: Callable[[], bool]) -> None:
    """Land until the end, and then what came until it; what can't be landed stays in Redis."""
    while not ended.wait(every_s):
        land()
    for _ in range(LAST_LANDINGS):
        if land():
            return
        time.sleep(RETRY_S)


def land_before_run(
    home: Path, settings: Settings, as_of_us: int, *, embedded: bool = False
) -> None:
    """Land what Redis has, `online.lateness` after a run's as-of time, for the run to count.

    Nothing is done where no events were ever applied with this home. Where it fails a line says so:
    what the run then lacks, the next one counts.
    """
    from vidtopics.cli import stores
    from vidtopics.errors import VidtopicsError
    from vidtopics.materialization import live, owners
    from vidtopics.tables import Tables

    if not (home / MARK).exists():
        return
    tables = Tables(home)
    try:
        with stores.reached(home, embedded) as connection:
            owners.check(connection, settings.online.prefix, tables)
            applier = live.begin(connection, settings)
            due_s = as_of_us / 1e6 + settings.online.lateness.total_seconds()
            time.sleep(max(due_s - time.time(), 0))
            land(tables, applier, settings)
    except VidtopicsError as error:
        stores.print_warning(f"Events didn't land; this run counts what had before. {error}")


def landed_line(landed: Landed) -> str:
    """What was landed, in a line."""
    refused = ", ".join(f"{count:,} {reason}" for reason, count in sorted(landed.refused.items()))
    parts = [
        f"landed {landed.entries:,} events: {landed.impressions:,} impressions",
        f"{landed.clicks:,} clicks",
        f"{landed.already_there:,} impressions were there",
        *([f"{landed.erased:,} rows of erased people left out"] if landed.erased else []),
        *([f"{landed.held:,} wait for their time"] if landed.held else []),
        *([f"refused {refused}"] if refused else []),
    ]
    return ", ".join(parts)
