"""`vidtopics recommend`: recall and rank for one user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ServedHome,
    print_json,
)


def recommend(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID")],
    top: Annotated[int, typer.Option(min=1, help="Videos to recommend.")] = 10,
    home: ServedHome = DEFAULT_HOME,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="Add the request to a log, for `vidtopics parity --requests`.",
            dir_okay=False,
        ),
    ] = None,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Videos for a user, each with its reason.

    They are recalled from the topics of recent clicks, and ranked by click probability.
    """
    from vidtopics.cli import homes, recommendations

    settings = homes.settings(home, config)
    report = recommendations.report(home, settings, user_id, top=top, embedded=embedded, log=log)
    if as_json:
        print_json(report)
    else:
        recommendations.show(report)
