"""`vidtopics power`: which effect can an experiment find, before it starts?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import AsJson, print_json


def power(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="With experiment.yaml and pre_outcomes; without it --mean, --sd, --users.",
            file_okay=False,
        ),
    ] = None,
    mean: Annotated[float | None, typer.Option(help="Of a user's day.")] = None,
    sd: Annotated[float | None, typer.Option(help="Between users' days.")] = None,
    correlation: Annotated[
        float, typer.Option(min=0, max=1, help="Between two days of one user (with --sd).")
    ] = 0.5,
    users: Annotated[int | None, typer.Option(min=4, help="In all; FOLDER: those seen.")] = None,
    shares: Annotated[
        str, typer.Option(help="Of control and of each other arm, of all users (with --sd).")
    ] = "0.5,0.5",
    days: Annotated[
        int | None, typer.Option(min=1, help="Of the experiment; FOLDER: as declared.")
    ] = None,
    pre_days: Annotated[int, typer.Option(min=0, help="For CUPED (with --sd).")] = 0,
    effect: Annotated[
        float | None, typer.Option(help="Relative: how many users does 0.01 take?")
    ] = None,
    target_power: Annotated[
        float, typer.Option("--power", min=0.5, max=0.999, help="To find the effect.")
    ] = 0.8,
    alpha: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Of all comparisons (with --sd).")
    ] = 0.05,
    comparisons: Annotated[
        int, typer.Option(min=1, help="Metrics times arms (with --sd; FOLDER: as declared).")
    ] = 1,
    groups: Annotated[
        int | None,
        typer.Option(min=2, help="Also compare so many groups by hash over the pre-period."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The least effect that is found, or the users that an effect takes, before an experiment.

    From the log of a pre-period, or from figures.
    """
    from vidtopics.cli import power_report
    from vidtopics.experiments.planning import Figures, plan_from_figures, plan_from_log

    if folder is not None:
        report = plan_from_log(
            folder, days=days, users=users, effect=effect, power=target_power, groups=groups
        )
    else:
        figures = Figures(mean, sd, correlation, users, shares, days or 1, pre_days)
        report = plan_from_figures(
            figures, effect=effect, power=target_power, alpha=alpha, comparisons=comparisons
        )
    if as_json:
        print_json(report)
    else:
        power_report.show(report)
