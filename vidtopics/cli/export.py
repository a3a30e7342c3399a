"""All that is held of a person, as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, Config, Embedded, ExistingHome, print_json
from vidtopics.cli.erase import Also

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _verbs() -> None:
    """All that is held of a person, as JSON."""


@app.command()
def user(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="Whose data.")],
    also: Also = None,
    home: ExistingHome = DEFAULT_HOME,
    embedded: Embedded = False,
    config: Config = None,
) -> None:
    """Print all that is held of a user: rows of every table, files of the home, Redis."""
    from vidtopics.cli import homes
    from vidtopics.cli.erase import servers
    from vidtopics.erasure.export import export
    from vidtopics.tables import Tables

    settings, tables = homes.settings(home, config), Tables(home)
    with servers(home, embedded, settings, tables) as reached:
        held = export(
            tables, user_id, settings.erasure.user_columns, servers=reached, also=also or ()
        )
    print_json(held)
