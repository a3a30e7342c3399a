"""`vidtopics serve`: recommendations and features over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, Config, Embedded, ServedHome


def serve(
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Without --keys an address of loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="API keys with scopes and rates (YAML)."),
    ] = None,
    home: ServedHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
) -> None:
    """Answer requests over HTTP: recommendations, features, topics.

    From SIGTERM on /ready says no; after `serving.drain` requests under way are finished and the
    service ends with 0.
    """
    from consumers.serving import server
    from vidtopics.cli import homes, stores
    from vidtopics.server import url_of
    from vidtopics.storage.mirrors import followed

    settings = homes.settings(home, config)
    url = url_of(home, embedded=embedded)
    with followed(home, stores.print_warning):
        server.serve(server.Options(home, url, settings, keys, workers), host, port)
