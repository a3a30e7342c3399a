"""`vidtopics demo`: from raw input to a recommendation with reasons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import DEFAULT_HOME, Config, Home

if TYPE_CHECKING:
    from vidtopics.ingest import Source
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables


def demo(
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder or MovieLens; a simulated world if left out."),
    ] = None,
    home: Home = DEFAULT_HOME,
    config: Config = None,
) -> None:
    """Ingest, run all jobs at each as-of date, evaluate, materialise, train, recommend."""
    from vidtopics.cli import homes, show
    from vidtopics.ingest import ingest
    from vidtopics.tables import Tables

    with show.peak_memory() as peak, show.timed() as seconds:
        settings, source = _source(data, home, config)
        tables = Tables(home)
        homes.keep(home, settings)
        with show.working(f"Ingesting {source.path.name}") as progress:
            brought = ingest(tables, source, settings.ingest, progress=progress)
        show.ingested(brought)
        _produce(tables, settings)
        url = _serve(tables, settings)
        page = _consume(tables, settings)
        show.out.print(
            f"Done in {seconds():.0f} s, peak memory {peak():.1f} GB.\n"
            f"  tables       {tables.home / 'tables'}\n"
            f"  topic page   {page}\n"
            f"  Redis        {url} (goes on; `vidtopics redis stop`)\n"
            f"  Feast        feast -f {tables.home / 'feature_store.yaml'} ui\n"
            "  next         vidtopics features VIDEO_ID ..., vidtopics recommend USER_ID",
            highlight=False,
            soft_wrap=True,
        )


def _produce(tables: Tables, settings: Settings) -> None:
    """Every job at each as-of date, then Table I."""
    from spark_jobs.evaluation import evaluate
    from spark_jobs.session import stop
    from vidtopics.cli import reports, show
    from vidtopics.cli.run import backfill, print_left_out

    steps, releases = backfill(tables, settings)
    stop()
    show.steps(steps, releases.get)
    print_left_out(steps)
    with (
        _where_data_suffices("Table I"),
        show.working("Evaluating representations (Table I, Fig. 3)") as progress,
    ):
        reports.representations(evaluate(tables, settings, progress))


@contextmanager
def _where_data_suffices(what: str) -> Iterator[None]:
    """Prints what a small delivery has too few videos or clicks for, and goes on."""
    from rich.text import Text

    from vidtopics.cli.show import out
    from vidtopics.errors import TableError

    try:
        yield
    except TableError as error:
        out.print(Text(f"{what}: left out. {error}"))


def _serve(tables: Tables, settings: Settings) -> str:
    """The feature repo registered and the latest release in Redis; its address."""
    from vidtopics.cli import show, stores
    from vidtopics.cli.apply import register
    from vidtopics.cli.materialize import move

    with show.working("Registering the feature repo with Feast"):
        register(tables.home, settings.online)
    with show.working("Materialising the latest release into Redis") as progress:
        done = move(tables.home, settings.online, False, lambda moved: progress(moved.name))
    show.moved(done)
    return stores.plain(stores.url_of(tables.home))


def _consume(tables: Tables, settings: Settings) -> Path:
    """Ranking with and without topics, a recommendation for an active user, the topic page."""
    from consumers.ranking.evaluation import evaluate
    from consumers.ranking.learning import train
    from vidtopics.cli import recommendations, reports, show
    from vidtopics.explore import write_page

    with (
        _where_data_suffices("Ranking"),
        show.working("Evaluating ranking (AUC with and without topics)") as progress,
    ):
        reports.ranking(evaluate(tables, settings, progress))
    with _where_data_suffices("Recommendation"):
        with show.working("Training the ranking model") as progress:
            train(tables, settings, progress)
        user = recommendations.active_user(tables)
        recommendations.show(recommendations.report(tables.home, settings, user, top=5))
    with show.working("Writing the topic page"):
        return write_page(tables, tables.home / "explore.html")


def _source(data: Path | None, home: Path, config: Path | None) -> tuple[Settings, Source]:
    from vidtopics.cli import homes
    from vidtopics.cli.ingest import simulate
    from vidtopics.ingest import Source, recognise
    from vidtopics.settings import load

    kind = recognise(data) if data else None
    settings = load(config or homes.conf("movielens" if kind == "movielens" else "demo"))
    return settings, Source(kind, data) if data and kind else simulate(home, settings)
