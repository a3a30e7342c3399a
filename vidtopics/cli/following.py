"""`vidtopics events follow`: events of a folder or of Kafka, by Structured Streaming."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ExistingHome,
    MapFile,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.jobs.event_stream import Sent


def follow(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, or kafka://HOST:PORT/TOPIC.")
    ],
    encoding: Annotated[
        Literal["json", "arrow", "parquet"],
        typer.Option("--format", help="Of files json (lines) or parquet, of topics json or arrow."),
    ] = "json",
    fields: MapFile = None,
    kafka_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Properties of Kafka's client: TLS, SASL.", exists=True),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="T", help="Topics: from this time on where there is no checkpoint."),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Messages (50,000) or files (100) at a time."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="How far the source was read; one of the home's."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Send what is there, then end.")] = False,
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Send the events that come into a folder or a topic of Kafka, until SIGINT or SIGTERM.

    Each counts once, also where this is killed and started again. Where Redis goes away it waits
    for it; with --once it ends with 2, and with 1 where events were refused.
    """
    from spark_jobs import events
    from vidtopics.cli import homes, stores
    from vidtopics.events.generations import keys_of
    from vidtopics.jobs.event_stream import Sent
    from vidtopics.server import url_of

    following = events.Following(
        source, encoding, fields, kafka_config, _unix_ms(since), batch, checkpoint, once
    )
    settings, total = homes.settings(home, config), Sent()
    with stores.reached(home, embedded) as connection:
        keys_of(connection, settings.online.prefix)  # something was loaded

    def on_batch(number: int, sent: Sent) -> None:
        total.add(sent.messages, sent.acknowledged, sent.left_out, sent.refused)
        if not as_json:
            typer.echo(events.line(number, sent))

    url = url_of(home, embedded=embedded)
    with events.until_signal() as ended:
        events.run(following, settings, home, url, on_batch=on_batch, ended=ended)
    if as_json:
        print_json({**vars(total), "refused": dict(total.refused)})
    if once and total.refused:
        raise typer.Exit(1)


def _unix_ms(text: str | None) -> int | None:
    from spark_jobs.events import unix_ms

    try:
        return None if text is None else unix_ms(text)
    except ValueError as error:
        raise typer.BadParameter(f"--since takes an ISO 8601 time: {error}") from None
