"""`vidtopics daemon`: runs and materialisations in one supervised process."""

from __future__ import annotations

from typing import Annotated

import typer

from vidtopics.cli import rounds
from vidtopics.cli.common import DEFAULT_HOME, Config, Embedded, ExistingHome


def daemon(
    run_every: Annotated[
        float | None,
        typer.Option(metavar="1h", parser=rounds.duration_s, help="Run all jobs as of now."),
    ] = None,
    materialize_every: Annotated[
        float | None,
        typer.Option(
            metavar="5m",
            parser=rounds.duration_s,
            help="Move what is new to Redis; at once after a run that released.",
        ),
    ] = None,
    metrics_port: rounds.MetricsPort = None,
    metrics_host: rounds.MetricsHost = "127.0.0.1",
    log_format: rounds.LogFormat = "text",
    log_level: rounds.LogLevel = "info",
    max_failures: rounds.MaxFailures = None,
    home: ExistingHome = DEFAULT_HOME,
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
    watch = rounds.Monitoring(metrics_port, metrics_host, log_format, log_level, max_failures)
    rounds.serve(home, embedded, settings.online, [*loads, *runs], watch)
