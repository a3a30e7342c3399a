"""`vidtopics demo`: from raw input to topic tables and Table I."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, Config, Home

if TYPE_CHECKING:
    from vidtopics.ingest import Source
    from vidtopics.settings import Settings


def demo(
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder or MovieLens; a simulated world if left out.")
    ] = None,
    home: Home = DEFAULT_HOME,
    config: Config = None,
) -> None:
    """Ingest, run every job at each as-of date, and evaluate; on a simulated short-video world unless --data is given."""
    from spark_jobs.evaluation import evaluate
    from vidtopics.cli import homes, reports, show
    from vidtopics.cli.run import backfill
    from vidtopics.ingest import ingest
    from vidtopics.tables import Tables

    with show.peak_memory() as peak, show.timed() as seconds:
        settings, source = _source(data, home, config)
        tables = Tables(home)
        homes.keep(home, settings)
        with show.working(f"Ingesting {source.path.name}") as progress:
            brought = ingest(tables, source, settings.ingest, progress=progress)
        show.ingested(brought)
        steps, releases = backfill(tables, settings)
        show.steps(steps, releases.get)
        with show.working("Evaluating representations (Table I, Fig. 3)") as progress:
            report = evaluate(tables, settings, progress)
        reports.representations(report)
        show.out.print(
            f"Done in {seconds():.0f} s, peak memory {peak():.1f} GB. Tables: {tables.home / 'tables'}",
            highlight=False,
            soft_wrap=True,
        )


def _source(data: Path | None, home: Path, config: Path | None) -> tuple[Settings, Source]:
    from vidtopics.cli import homes
    from vidtopics.cli.ingest import simulate
    from vidtopics.ingest import Source, recognise
    from vidtopics.settings import load

    kind = recognise(data) if data else None
    settings = load(config or homes.conf("movielens" if kind == "movielens" else "demo"))
    return settings, Source(kind, data) if data and kind else simulate(home, settings)
