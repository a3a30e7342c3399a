"""The paper's tables on this home's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The paper's tables on this home's data."""


@app.command()
def representations(
    home: ExistingHome = DEFAULT_HOME,
    figure_4: Annotated[
        Path | None,
        typer.Option(
            "--figure-4",
            metavar="FILE",
            help="Also write a page of covers by topic.",
            dir_okay=False,
        ),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Table I and Fig. 3: do the joint representation and tags cluster as the classes do?"""
    from vidtopics.cli import homes, reports, show
    from vidtopics.evaluate.representations import evaluate, released_run
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    if figure_4:
        from vidtopics.evaluate.figure_4 import write_figure_4

        write_figure_4(released_run(Tables(home), settings), figure_4)
    with show.working("Evaluating representations (Table I, Fig. 3)") as progress:
        report = evaluate(Tables(home), settings, progress)
    if as_json:
        print_json(report)
    else:
        reports.representations(report)


@app.command()
def ranking(
    home: ExistingHome = DEFAULT_HOME, config: Config = None, as_json: AsJson = False
) -> None:
    """Table II: AUC of Wide&Deep without topics, with topics as known, with topics of all tags."""
    from consumers.ranking.evaluation import evaluate
    from vidtopics.cli import homes, reports, show
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with show.working("Evaluating ranking (Table II)") as progress:
        report = evaluate(Tables(home), settings, progress)
    if as_json:
        print_json(report)
    else:
        reports.ranking(report)
