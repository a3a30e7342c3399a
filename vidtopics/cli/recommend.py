"""`vidtopics recommend`: recall and rank for one user."""

from __future__ import annotations

from typing import Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, Home, print_json


def recommend(
    user_id: Annotated[str, typer.Argument(metavar="USER_ID")],
    top: Annotated[int, typer.Option(min=1, help="Videos to recommend.")] = 10,
    home: Home = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Videos for a user: recalled from the topics of recent clicks, ranked by click probability, each with its reason."""
    from vidtopics.cli import homes, recommendations

    report = recommendations.report(home, homes.settings(home, config), user_id, top=top)
    if as_json:
        print_json(report)
    else:
        recommendations.show(report)
