"""Models from point-in-time frames."""

from __future__ import annotations

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Models from point-in-time frames."""


@app.command()
def ranking(
    home: ExistingHome = DEFAULT_HOME, config: Config = None, as_json: AsJson = False
) -> None:
    """Wide&Deep on all impressions whose label window has closed; `recommend` ranks with it.

    Ends with 3 if another run has the home.
    """
    from consumers.ranking.learning import train
    from vidtopics.cli import homes, reports, show
    from vidtopics.releases.lock import hold
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with (
        hold(home, "vidtopics train ranking"),
        show.working("Training the ranking model") as progress,
    ):
        report = train(Tables(home), settings, progress)
    if as_json:
        print_json(report)
    else:
        reports.trained(report)
