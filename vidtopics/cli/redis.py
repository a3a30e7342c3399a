"""The embedded Redis (Valkey) of a home."""

from __future__ import annotations

import typer

from vidtopics.cli.common import DEFAULT_HOME, Embedded, ReadableHome

app = typer.Typer(no_args_is_help=True)


@app.command()
def start(home: ReadableHome = DEFAULT_HOME, embedded: Embedded = False) -> None:
    """Start it unless it runs; prints its address.

    With REDIS_URL set nothing is started: that server is used, and its address is printed without
    user and password.
    """
    from vidtopics.server import plain, url_of

    typer.echo(plain(url_of(home, embedded=embedded)))


@app.command()
def stop(home: ReadableHome = DEFAULT_HOME) -> None:
    """Stop it; its data stays below the home."""
    from vidtopics import server

    typer.echo("stopped" if server.stop(home) else "it was not running")
