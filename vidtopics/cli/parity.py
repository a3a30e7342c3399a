"""`vidtopics parity`: was what was served what the tables say?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Home, print_json


def parity(
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="DIR", help="HOME/logs/served if left out.", file_okay=False),
    ] = None,
    max_stale: Annotated[
        float,
        typer.Option("--max-stale", metavar="RATE", min=0, max=1, help="Greatest staleness of a view that is fine."),
    ] = 0.01,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each kind in each view.")] = 3,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Replay what a client's ServingLog kept against the tables.

    Ends with 0 if all is well; with 1 if a served value is not the table's, a view is staler than RATE, or no row could be checked;
    with 2 if there is no log or no table.
    """
    from consumers.parity import replay
    from vidtopics.cli import parity_report, show
    from vidtopics.tables import Tables

    with show.working("Replaying the serving log"):
        report = replay(Tables(home), log or home / "logs" / "served", examples=examples)
    fine = not report.mismatches and report.staleness <= max_stale and report.checked > 0
    if as_json:
        print_json({"fine": fine, "max_stale": max_stale} | report.to_dict())
    else:
        parity_report.show(report, max_stale)
    if not fine:
        raise typer.Exit(1)
