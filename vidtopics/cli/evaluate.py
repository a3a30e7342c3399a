"""The paper's tables on this home's data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, print_json

if TYPE_CHECKING:
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables

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
    home: ExistingHome = DEFAULT_HOME,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Two models with and without topics, no search."),
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the gains as SVG.", dir_okay=False),
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Table II: models without topics, with cover features, with topics, with both; by time first.

    On a simulated world, without --quick, also what planted topics, tastes and the oracle would
    give, and which share of it learned topics recover. Ends with 2 where the log is too small to
    compare on.
    """
    from consumers.ranking.home import evaluate_ranking
    from vidtopics.cli import ceiling_report, homes, ranking_reports, show
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with show.working("Evaluating ranking (Table II)") as progress:
        report = evaluate_ranking(Tables(home), settings, quick=quick, progress=progress)
        ceiling = None if quick else _ceiling(Tables(home), settings, progress)
    if ceiling:
        report["ceiling"] = ceiling
    if figure:
        from vidtopics.files import write_whole

        write_whole(figure, ranking_reports.gains_figure(report))
    if as_json:
        print_json(report)
    else:
        ranking_reports.table_2(report)
        if ceiling:
            ceiling_report.show(ceiling)


def _ceiling(
    tables: Tables, settings: Settings, progress: Callable[[str], None]
) -> dict[str, Any] | None:
    """The ceiling of a simulated home, or why it was left out; None of another home."""
    from vidtopics.errors import InputError
    from vidtopics.evaluate.ceiling.report import evaluate

    try:
        return evaluate(tables, settings, progress)
    except InputError as error:  # Table II stands without it
        return {"left_out": str(error)}


@app.command()
def daily(
    days: Annotated[int, typer.Option(min=1, help="Days to predict, one after the other.")] = 5,
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Fig. 5: predict a day, learn from it, predict the next: topics, cover features, neither."""
    from consumers.ranking.home import evaluate_daily
    from vidtopics.cli import ceiling_report, homes, ranking_reports, show
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with show.working("Evaluating ranking day by day (Fig. 5)") as progress:
        report = evaluate_daily(Tables(home), settings, days=days, progress=progress)
    if as_json:
        print_json(report)
    else:
        ranking_reports.figure_5(report)
        ceiling_report.print_hint(home)


@app.command()
def cost(home: ExistingHome = DEFAULT_HOME, config: Config = None, as_json: AsJson = False) -> None:
    """Fig. 6: training time, memory, serving bytes and latency of topics and of cover features."""
    from consumers.ranking.home import evaluate_cost
    from vidtopics.cli import homes, ranking_reports, show
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with show.working("Measuring what topics cost (Fig. 6)") as progress:
        report = evaluate_cost(Tables(home), settings, progress)
    if as_json:
        print_json(report)
    else:
        ranking_reports.figure_6(report)


@app.command()
def recall(
    windows: Annotated[
        int, typer.Option(min=1, help="Into which the last half of the log is cut.")
    ] = 10,
    users: Annotated[int, typer.Option(min=1, help="Drawn of each window, at most.")] = 300,
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Recall by topics against popular, item-kNN and ALS: later clicks among all live videos.

    Ends with 2 where too few users click something new after topics were known.
    """
    from vidtopics.cli import ceiling_report, homes, recall_report, show
    from vidtopics.evaluate.recall import evaluate
    from vidtopics.tables import Tables

    settings = homes.settings(home, config)
    with show.working("Evaluating recall") as progress:
        report = evaluate(Tables(home), settings, windows=windows, users=users, progress=progress)
    if as_json:
        print_json(report)
    else:
        recall_report.show(report)
        ceiling_report.print_hint(home)


@app.command()
def ab(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="With experiment.yaml and the log's files.", file_okay=False
        ),
    ],
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page with plots.", dir_okay=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Table III: an A/B experiment's log; checks first, then metrics against control.

    Ends with 1 before the end of a fixed horizon (no estimates yet), with 6 where a check stops the
    verdict (docs/experiments.md).
    """
    from vidtopics.cli import ab_report, show
    from vidtopics.experiments.analysis import analyse

    with show.working("Analysing the experiment"):
        report = analyse(folder)
    ab_report.deliver(report, page, as_json=as_json)


@app.command()
def off_policy(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="reward, propensity, target_probability.", dir_okay=False
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """What another policy would have earned, from a log with propensities: IPS, SNIPS, DR.

    Ends with 2 where the effective sample size is too small (docs/experiments.md).
    """
    from vidtopics.cli import ab_report
    from vidtopics.experiments.off_policy_log import evaluate_file

    report = evaluate_file(file)
    if as_json:
        print_json(report)
    else:
        ab_report.show_policy(report)
