"""`vidtopics parity`: was what was served what the tables say?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, ExistingHome, print_json


def parity(
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="DIR", help="HOME/logs/served if left out.", file_okay=False),
    ] = None,
    max_stale: Annotated[
        float,
        typer.Option(
            "--max-stale",
            metavar="RATE",
            min=0,
            max=1,
            help="Greatest staleness of a view that is fine.",
        ),
    ] = 0.01,
    max_unchecked: Annotated[
        float,
        typer.Option(
            "--max-unchecked",
            metavar="RATE",
            min=0,
            max=1,
            help="Greatest share of a view's rows that could not be checked and is fine.",
        ),
    ] = 0.05,
    max_skew: Annotated[
        float,
        typer.Option(
            "--max-skew",
            metavar="RATE",
            min=0,
            max=1,
            help="Greatest share of a view's rows that is right by one clock alone and is fine.",
        ),
    ] = 0.001,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each kind in each view.")] = 3,
    served: Annotated[
        bool,
        typer.Option("--served", help="Count staleness as `vidtopics join --served` joins."),
    ] = False,
    requests: Annotated[
        Path | None,
        typer.Option(
            "--requests",
            metavar="FILE",
            help="Instead: answer whole requests again, those that `recommend --log` wrote.",
        ),
    ] = None,
    store: Annotated[
        str,
        typer.Option("--store", metavar="NAME", help="With --requests: whose loads count."),
    ] = "",
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Replay what a client's ServingLog kept against the tables; or whole requests.

    Ends with 0 if all is well; with 1 if a served value is not the table's, if of a view more than
    a RATE is stale, unchecked or a matter of clocks, or no row could be checked; with 2 if there is
    no log or no table. With --requests: with 1 if candidates, features or scores of a request
    differ from those of the release that was live, or none could be read.
    """
    if requests:
        _answer_again(requests, home, config, store, examples, as_json=as_json)
        return
    from consumers.parity import Limits, replay
    from vidtopics.cli import parity_report, show
    from vidtopics.tables import Tables

    with show.working("Replaying the serving log"):
        folder = log or home / "logs" / "served"
        report = replay(Tables(home), folder, served=served, examples=examples)
    limits = Limits(max_stale, max_unchecked, max_skew)
    fine = report.is_fine(limits)
    if as_json:
        bounds = {"max_stale": max_stale, "max_unchecked": max_unchecked, "max_skew": max_skew}
        print_json({"fine": fine} | bounds | report.to_dict())
    else:
        parity_report.show(report, limits)
    if not fine:
        raise typer.Exit(1)


def _answer_again(
    requests: Path, home: Path, config: Path | None, store: str, examples: int, *, as_json: bool
) -> None:
    from consumers.parity.request_log import LiveReleases, replay_file
    from consumers.ranking.serve import Ranker
    from vidtopics.cli import homes, parity_report, show
    from vidtopics.cli.stores import load_ordering
    from vidtopics.tables import Tables

    tables, settings = Tables(home), homes.settings(home, config)
    with show.working("Answering requests again"):
        ranker = Ranker.load(tables.home / "models" / "ranking")
        releases, load = LiveReleases(tables, store), load_ordering(settings)
        report = replay_file(requests, releases, ranker, settings, load)
    if as_json:
        print_json({"fine": report.is_fine} | vars(report))
    else:
        parity_report.show_requests(report, examples)
    if not report.is_fine:
        raise typer.Exit(1)
