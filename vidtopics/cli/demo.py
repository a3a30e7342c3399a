"""`vidtopics demo`: from raw input to a recommendation with reasons."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli import live_day
from vidtopics.cli.common import DEFAULT_HOME, Config, Embedded, NewWrittenHome

if TYPE_CHECKING:
    from vidtopics.ingest import Source
    from vidtopics.releases.lock import RunLock
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables


def demo(
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder or MovieLens; a simulated world if left out."),
    ] = None,
    home: NewWrittenHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    ab: Annotated[
        bool, typer.Option("--ab", help="Then Table III: an A/B experiment in the simulated world.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option("--live", help="Then a simulated day, played into the running service."),
    ] = False,
    speed: Annotated[
        float, typer.Option(min=1, help="Of --live: how much faster than the clock.")
    ] = live_day.SPEED,
    once: Annotated[bool, typer.Option("--once", help="Of --live: end after the day.")] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Of --live: the service's; 0: any.")
    ] = live_day.PORT,
) -> None:
    """All of it: ingest, jobs at each as-of date, evaluation, Feast, Redis, ranking, the page.

    With --live and a home that was made so, the day alone.
    """
    from vidtopics.cli import homes, show
    from vidtopics.cli.materialize import move
    from vidtopics.ingest import ingest
    from vidtopics.releases.lock import hold
    from vidtopics.sampling import sampled_peak
    from vidtopics.server import named_url
    from vidtopics.tables import Tables

    if (ab or live) and data:
        option = "--ab" if ab else "--live"
        raise typer.BadParameter(f"{option} goes without --data: it needs the simulated world")
    if ab and live:
        raise typer.BadParameter("--live goes without --ab: the experiment's home has later days")
    named_url(home, embedded=embedded)  # refused now rather than after all jobs
    day = live_day.Options(embedded, speed, once, port)
    if live and live_day.is_made(home):
        settings = homes.settings(home, config)
        with show.working("The home is there: what its Redis lacks of the release in force"):
            move(home, embedded, settings, lambda moved: None)
        live_day.play(home, settings, day)
        return
    with sampled_peak(show.memory, every=0.5) as peak, show.timed() as seconds:
        settings, source = _source(data, home, config)
        tables = Tables(home)
        homes.keep(home, settings)
        with show.working(f"Ingesting {source.path.name}") as progress:
            brought = ingest(tables, source, settings.ingest, progress=progress)
        show.ingested(brought)
        with hold(home, "vidtopics demo") as lock:
            _produce(tables, settings, lock)
            url = _serve(tables, settings, embedded)
            page = _consume(tables, settings, embedded)
        if ab:
            _experiment(home, settings)
        figures = f"Done in {seconds():.0f} s, peak memory {peak():.1f} GB.\n"
        show.out.print(
            show.as_text(figures + results(tables.bucket or home, url, page)), soft_wrap=True
        )
    if live:
        live_day.play(home, settings, day)


def results(home: Path | str, url: str, page: Path) -> str:
    """Where the results lie and the next commands, as a shell takes them.

    >>> print(results(Path("my home"), "redis://h", Path("my home/explore.html")))
      tables       my home/tables
      topic page   my home/explore.html
      Redis        redis://h (goes on; `vidtopics redis stop --home 'my home'`)
      Feast        feast -f 'my home/feature_store.yaml' ui
      next         vidtopics recommend --home 'my home' USER_ID
                   vidtopics features --home 'my home' VIDEO_ID ...
    """
    is_default = Path(home).absolute() == DEFAULT_HOME.absolute()
    option = "" if is_default else f" --home {shlex.quote(str(home))}"
    return (
        f"  tables       {home}/tables\n"
        f"  topic page   {page}\n"
        f"  Redis        {url} (goes on; `vidtopics redis stop{option}`)\n"
        f"  Feast        feast -f {shlex.quote(str(page.with_name('feature_store.yaml')))} ui\n"
        f"  next         vidtopics recommend{option} USER_ID\n"
        f"               vidtopics features{option} VIDEO_ID ..."
    )


def _produce(tables: Tables, settings: Settings, lock: RunLock) -> None:
    """Every job at each as-of date, then Table I."""
    from vidtopics.cli import reports, show
    from vidtopics.cli.run import backfill, print_left_out
    from vidtopics.evaluate.representations import evaluate
    from vidtopics.jobs.session import stop

    steps, releases = backfill(tables, settings, lock)
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
    """Where a small delivery lacks data for a figure, say what is missing and go on."""
    from vidtopics.cli.show import as_text, out
    from vidtopics.errors import TableError

    try:
        yield
    except TableError as error:
        out.print(as_text(f"{what}: left out. {error}"))


def _serve(tables: Tables, settings: Settings, embedded: bool) -> str:
    """The feature repo registered and the latest release in Redis; its address."""
    from vidtopics.cli import show
    from vidtopics.cli.apply import is_registered, register
    from vidtopics.cli.materialize import move
    from vidtopics.server import plain, url_of

    with show.working("Registering the feature repo with Feast"):
        if not is_registered(tables.home, settings.online, embedded):
            register(tables.home, settings.online, embedded)
    with show.working("Materialising the latest release into Redis") as progress:
        done = move(tables.home, embedded, settings, lambda moved: progress(moved.name))
    show.moved(done)
    return plain(url_of(tables.home, embedded=embedded))


def _consume(tables: Tables, settings: Settings, embedded: bool) -> Path:
    """Ranking with and without topics, a recommendation for an active user, the topic page."""
    from consumers.ranking.home import evaluate_ranking, train_ranking
    from producers.topics.neighbours import near_duplicates
    from vidtopics.cli import ranking_reports, recommendations, show
    from vidtopics.explore import write_page

    with (
        _where_data_suffices("Ranking"),
        show.working("Evaluating ranking (Table II, quick)") as progress,
    ):
        report = evaluate_ranking(tables, settings, quick=True, progress=progress)
        ranking_reports.table_2(report)
    with _where_data_suffices("Recommendation"):
        with show.working("Training the ranking model") as progress:
            train_ranking(tables, settings, progress)
        user = recommendations.active_user(tables)
        recommendations.show(
            recommendations.report(tables.home, settings, user, top=5, embedded=embedded)
        )
    with show.working("Writing the topic page"):
        return write_page(
            tables,
            tables.home / "explore.html",
            prior_exposures=settings.statistics.prior_exposures,
            find_pairs=near_duplicates,
        ).path


def _experiment(home: Path, settings: Settings) -> None:
    """The paper's experiment (Table III) in the world that the home was made from."""
    import shutil

    from vidtopics.cli import ab_report
    from vidtopics.cli.simulate import deliver_later, experiment
    from vidtopics.simulation.experiment import Plan

    arms = ("production", "topic-recall", "topics")
    plan, out = Plan(arms, f"simulated-{settings.seed}"), home / "experiment"
    shutil.rmtree(out, ignore_errors=True)
    deliver_later(home, settings, plan.later_days)
    ab_report.show(experiment(settings, home, plan, out))


def _source(data: Path | None, home: Path, config: Path | None) -> tuple[Settings, Source]:
    from vidtopics.cli import homes
    from vidtopics.cli.ingest import simulate
    from vidtopics.ingest import Source, recognise
    from vidtopics.settings import load

    kind = recognise(data) if data else None
    settings = load(config or homes.conf("movielens" if kind == "movielens" else "demo"))
    return settings, Source(kind, data) if data and kind else simulate(home, settings)
