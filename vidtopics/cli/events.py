"""Send events, apply them to what readers see, land them in the log."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from vidtopics.cli import following, rounds
from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ExistingHome,
    print_json,
)
from vidtopics.cli.event_monitoring import RETRY_S, Watch, watched

if TYPE_CHECKING:
    from vidtopics.events.applying import Applier
    from vidtopics.ingest.landing import Landed
    from vidtopics.materialization.live_queues import QueueRefresher
    from vidtopics.online.connections import Connection
    from vidtopics.settings import Settings

app = typer.Typer(no_args_is_help=True)
POLL_S = 0.02
"""Between two looks at the streams; an event is seen about half of it after it is acknowledged."""
FOLLOW_S = 1.0
"""Between two looks for another release."""
ROUNDS = 5
"""Calls to apply between two looks at the other generations and at the end of the service."""
STARTED = "applying events until SIGINT or SIGTERM"
LAND_S = 60.0
LAST_LANDINGS = 5
"""Tries to land what came until the end."""
REFRESH_SHARE = 0.25
"""Of the time that refreshes of queues may take, so that applying isn't kept waiting."""
SEND = 5_000
"""Events at a time that a file gives, and entries of a stream that `tail --follow` reads."""
MARK = "events-applied"
"""A file of the home: events are applied with it, so that runs land them first."""


@app.command()
def apply(
    once: Annotated[
        bool, typer.Option("--once", help="Apply and land what is there, then end.")
    ] = False,
    land_every: Annotated[
        float | None,
        rounds.pace("1m", "Write events to the tables; every minute if left out."),
    ] = None,
    metrics_port: rounds.MetricsPort = None,
    metrics_host: rounds.MetricsHost = "127.0.0.1",
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Apply events to what readers see, and land them in the log, until SIGINT or SIGTERM.

    What readers see are counts, users' lists, and the topic queues that follow from the counts.
    Any number of these may run. Where Redis goes away it waits for it; with --once it ends with 2.
    """
    from vidtopics.cli import homes, stores
    from vidtopics.tables import Tables

    if once and metrics_port:
        raise typer.BadParameter("--metrics-port goes without --once")
    settings, tables = homes.settings(home, config), Tables(home)
    ended = threading.Event()
    if not once:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
    with stores.reached(home, embedded) as connection:
        applier = _begin(connection, settings, tables)
        if once:
            applied = _apply(tables, applier)
            _refresher(tables, applier, settings).refresh()
            landed = _land(tables, applier, settings)
            _print_done(applied, landed, as_json)
            return
        address = (metrics_host, metrics_port)
        with watched(home, embedded, settings.online, applier, address) as watch:
            _serve(tables, applier, settings, land_every or LAND_S, watch, ended)


def _begin(connection: Connection, settings: Settings, tables: Any) -> Applier:
    from vidtopics.cli import stores
    from vidtopics.materialization import live, owners

    owners.check(connection, settings.online.prefix, tables)
    applier = live.begin(connection, settings)
    applier.warn = stores.print_warning
    (tables.home / MARK).touch()
    return applier


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
            _land(tables, applier, settings)
    except VidtopicsError as error:
        stores.print_warning(f"Events didn't land; this run counts what had before. {error}")


def _apply(tables: Any, applier: Applier) -> int:
    from vidtopics.materialization.live import synchronise

    return sum(applier.apply(generation) for generation in synchronise(tables, applier))


def _land(
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


def _refresher(tables: Any, applier: Applier, settings: Settings) -> QueueRefresher:
    from vidtopics.cli.stores import load_ordering
    from vidtopics.materialization.live_queues import QueueRefresher

    prefix = settings.online.prefix
    return QueueRefresher(applier.connection, prefix, tables, load_ordering(settings))


def _serve(
    tables: Any,
    applier: Applier,
    settings: Settings,
    land_every: float,
    watch: Watch,
    ended: threading.Event,
) -> None:
    """Apply in short rounds; land and trim, and order queues, in threads beside that."""

    def land() -> bool:
        landed = None
        with watch.passing("landing"):
            landed = _land(tables, applier, settings, ended, watch)
            if landed.entries:
                typer.echo(_landed_line(landed), err=True)
        return landed is not None

    refresher = _refresher(tables, applier, settings)
    refresh_s = settings.queues.refresh.total_seconds()
    typer.echo(STARTED, err=True)
    with ThreadPoolExecutor(2, "beside") as pool:
        works = [
            pool.submit(_land_repeatedly, ended, land_every, land),
            pool.submit(refresh_at_a_pace, refresher, refresh_s, ended, watch),
        ]
        for work in works:
            work.add_done_callback(lambda _: ended.set())  # a bug there ends the service
        try:
            _apply_in_rounds(tables, applier, ended, watch)
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


def _apply_in_rounds(tables: Any, applier: Applier, ended: threading.Event, watch: Watch) -> None:
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


def _land_repeatedly(ended: threading.Event, every_s: float, land: Callable[[], bool]) -> None:
    """Land until the end, and then what came until it; what can't be landed stays in Redis."""
    while not ended.wait(every_s):
        land()
    for _ in range(LAST_LANDINGS):
        if land():
            return
        time.sleep(RETRY_S)


def _print_done(applied: int, landed: Landed, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json({"applied": applied, "landed": asdict(landed)})
    else:
        typer.echo(f"applied {applied:,} entries; {_landed_line(landed)}")


def _landed_line(landed: Landed) -> str:
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


@app.command()
def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines, CSV or Parquet.", dir_okay=False)
    ],
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Send the events of a file; a row of the ingest format is an impression, and its click.

    Ends with 1 where events were refused.
    """
    from itertools import islice

    from vidtopics.cli import homes, stores
    from vidtopics.ingest.replay import events_of
    from vidtopics.online.events import EventClient

    acknowledged = 0
    refused: dict[str, list[str]] = {}
    prefix, began = homes.prefix(home, config), time.monotonic()
    with stores.reached(home, embedded) as connection:
        client, events = EventClient(connection, prefix=prefix), events_of(file)
        while part := list(islice(events, SEND)):
            sent = client.send(part)
            acknowledged += sent.acknowledged
            for refusal in sent.refused:
                refused.setdefault(refusal.reason, []).append(refusal.detail)
    counts = {reason: len(details) for reason, details in refused.items()}
    if as_json:
        print_json({"acknowledged": acknowledged, "refused": counts})
    else:
        typer.echo(f"{acknowledged:,} events acknowledged in {time.monotonic() - began:.1f} s")
        for reason, details in refused.items():
            typer.echo(f"refused {len(details):,} {reason}, the first: {details[0]}")
    if refused:
        raise typer.Exit(1)


app.command()(following.follow)


@app.command()
def tail(
    last: Annotated[int, typer.Option(metavar="N", min=0, help="Of those that are there.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes.")] = False,
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
) -> None:
    """Print events as they came, one line of JSON each."""
    from vidtopics.cli import homes, stores
    from vidtopics.events.generations import keys_of

    with stores.reached(home, embedded) as connection:
        keys = keys_of(connection, homes.prefix(home, config))
        streams = [keys.stream("user", bucket) for bucket in range(keys.layout.buckets)]
        for line in _tailed(connection, streams, last, follow):
            typer.echo(line)


def _tailed(connection: Connection, streams: list[str], last: int, follow: bool) -> Iterator[str]:
    cursors = dict.fromkeys(streams, "0-0")
    with connection.pipeline(transaction=False) as pipe:
        for stream in streams:
            pipe.xrevrange(stream, count=max(last, 1))
        answers = pipe.execute()
    entries = []
    for stream, newest in zip(streams, answers, strict=True):
        if newest:
            cursors[stream] = newest[0][0].decode()
        entries += newest
    entries.sort(key=lambda entry: tuple(map(int, entry[0].split(b"-"))))
    yield from map(_line, entries[len(entries) - min(last, len(entries)) :])
    while follow:
        time.sleep(0.1)
        with connection.pipeline(transaction=False) as pipe:
            for stream in streams:
                pipe.xrange(stream, min=f"({cursors[stream]}", count=SEND)
            answers = pipe.execute()
        for stream, newer in zip(streams, answers, strict=True):
            if newer:
                cursors[stream] = newer[-1][0].decode()
            yield from map(_line, newer)


def _line(entry: tuple[bytes, dict[bytes, bytes]]) -> str:
    """An entry in the field names of the ingest format."""
    from vidtopics.ingest.landing import NAMES
    from vidtopics.times import moment

    number, fields = entry
    text = {name.decode(errors="replace"): v.decode(errors="replace") for name, v in fields.items()}
    try:
        shown, own = (moment(int(text[name])) for name in ("t", "a"))
        event = {"kind": NAMES[text["k"]], "event_id": text["e"], "user_id": text["u"]}
        event |= {"video_id": text["v"], "event_timestamp": shown}
        event |= {"clicked_at": own} if text["k"] != "i" else {}
        names = {"w": "watch_seconds", "p": "position", "r": "request_id"}
        event |= {names[name]: text[name] for name in names if text[name]}
    except (KeyError, ValueError, OverflowError):
        event = {"malformed": json.dumps(text)}
    return json.dumps({"entry": number.decode(), **event}, ensure_ascii=False)


@app.command()
def status(
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Generations, how far each is behind, what became of its entries, and how long streams are."""
    from vidtopics.cli import homes, stores
    from vidtopics.events.generations import keys_of

    with stores.reached(home, embedded) as connection:
        keys = keys_of(connection, homes.prefix(home, config))
        facts = _facts(connection, keys)
    if as_json:
        print_json(facts)
        return
    typer.echo(f"streams: {facts['streams']['user']:,} events, {facts['dead']:,} dead letters")
    typer.echo(f"not landed: {facts['not_landed']:,} events")
    for release, generation in facts["generations"].items():
        typer.echo(f"release {release}, events from {generation['as_of']} on")
        for part in ("video", "user"):
            counts = generation["counts"][part]
            text = ", ".join(f"{counts[name]:,} {name}" for name in sorted(counts)) or "nothing yet"
            typer.echo(f"  {part}s: {text}; behind by {max(generation['lag_ms'][part]):,} ms")
    for queues in facts["queues"]:
        typer.echo(_queues_line(queues))


def _queues_line(queues: dict[str, Any]) -> str:
    age_s = queues["age_s"]
    age = "never refreshed" if age_s is None else f"refreshed {age_s:.1f} s ago"
    read = "" if queues["read"] else "; readers see the batch's"
    return (
        f"queues of release {queues['release']}, load {queues['load']}: {age},"
        f" {queues['refreshes']:,} refreshes, {queues['written']:,} lists written{read}"
    )


def _queue_facts(connection: Connection, prefix: str) -> list[dict[str, Any]]:
    """The sets of live queues, by age."""
    from vidtopics.events.queue_sets import known_sets

    now_us = time.time_ns() // 1000
    return [
        {
            "release": queues.release,
            "load": queues.load,
            "age_s": (now_us - done.at_us) / 1e6 if done.at_us else None,
            "refreshes": done.refreshes,
            "written": done.written,
            "version": done.version,
            "read": done.is_read,
        }
        for queues, done in sorted(known_sets(connection, prefix).items())
    ]


def _facts(connection: Connection, keys: Any) -> dict[str, Any]:
    from vidtopics.events.generations import counters, lags, opened, parts_of
    from vidtopics.ingest.landing import not_landed
    from vidtopics.times import moment

    lengths = {"video": 0, "user": 0}
    for part, bucket in parts_of(keys):
        lengths[part] += connection.xlen(keys.stream(part, bucket))  # type: ignore[operator]
    return {
        "streams": lengths,
        "dead": connection.xlen(keys.dead),
        "not_landed": not_landed(connection, keys),
        "generations": {
            release: {
                "as_of": moment(generation.as_of_us),
                "counts": counters(connection, keys, release),
                "lag_ms": lags(connection, keys, release),
            }
            for release, generation in sorted(opened(connection, keys.prefix).items())
        },
        "queues": _queue_facts(connection, keys.prefix),
    }
