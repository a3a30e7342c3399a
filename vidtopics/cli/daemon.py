"""`vidtopics daemon`: runs and materialisations in one supervised process."""

from __future__ import annotations

from typing import Annotated

import typer

from vidtopics.cli import rounds
from vidtopics.cli.common import DEFAULT_HOME, Config, Embedded, WrittenHome


@rounds.monitored
def daemon(
    run_every: Annotated[float | None, rounds.pace("1h", "Run all jobs as of now.")] = None,
    materialize_every: Annotated[
        float | None, rounds.pace("5m", "Move what is new to Redis; at once after a release.")
    ] = None,
    watch: rounds.Monitoring = rounds.UNWATCHED,
    home: WrittenHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
) -> None:
    """Run jobs, and materialise what they released, in rounds until SIGINT or SIGTERM.

    Ends after the round under way, at once where none is, with 0; with 5 after --max-failures; with
    2 on wrong use.
    """
    from vidtopics.cli import homes

    if not (run_every or materialize_every):
        raise typer.BadParameter("say --run-every, --materialize-every or both")
    settings = homes.settings(home, config)
    loads = (
        [rounds.materialize_work(home, embedded, settings, materialize_every)]
        if materialize_every
        else []
    )
    runs = (
        [rounds.run_work(home, config, [], run_every, then=loads[0] if loads else None)]
        if run_every
        else []
    )
    rounds.serve(home, embedded, settings.online, [*loads, *runs], watch)
