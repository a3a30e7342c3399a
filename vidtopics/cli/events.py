"""Send events, apply them to what readers see, land them in the log."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli import event_facts, event_service, following, rounds
from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ExistingHome,
    print_json,
)
from vidtopics.cli.event_monitoring import watched

if TYPE_CHECKING:
    from vidtopics.ingest.landing import Landed

app = typer.Typer(no_args_is_help=True)
LAND_S = 60.0
SEND = 5_000
"""Events at a time that a file gives."""


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
    Any number of these may run. Where Redis goes away, or still loads its data, it waits for it;
    with --once it ends with 2.
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
        if once:
            applier = event_service.begin(connection, settings, tables)
            applied = event_service.apply_all(tables, applier)
            event_service.refresher_of(tables, applier, settings).refresh()
            landed = event_service.land(tables, applier, settings)
            _print_done(applied, landed, as_json)
            return
        consumer = event_service.begin_once_loaded(connection, settings, tables, ended)
        if consumer is None:
            return
        address = (metrics_host, metrics_port)
        with watched(home, embedded, settings.online, consumer, address) as watch:
            event_service.serve(tables, consumer, settings, land_every or LAND_S, watch, ended)


def _print_done(applied: int, landed: Landed, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json({"applied": applied, "landed": asdict(landed)})
    else:
        typer.echo(f"applied {applied:,} entries; {event_service.landed_line(landed)}")


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
        for line in event_facts.tailed(connection, streams, last, follow):
            typer.echo(line)


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
        facts = event_facts.facts(connection, keys)
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
        typer.echo(event_facts.queues_line(queues))
