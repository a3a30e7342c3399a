"""`vidtopics materialize`: the latest release into Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli import stores
from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ExistingHome,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.materialization import Moved
    from vidtopics.materialization.loading import Progress
    from vidtopics.settings import OnlineSettings

LOCKED = 3


def time_us(text: str) -> int:
    """Microseconds of an ISO 8601 time; UTC where it has no offset.

    >>> time_us("1970-01-01T00:00:01Z") == time_us("1970-01-01T00:00:01") == 1_000_000
    True
    """
    from datetime import UTC, datetime

    from vidtopics.times import micros

    time = datetime.fromisoformat(text)
    return micros(time if time.tzinfo else time.replace(tzinfo=UTC))


def duration_s(text: str) -> float:
    """Seconds of `30s`, `5m` or `1h`."""
    from vidtopics.materialization.rounds import seconds

    return seconds(text)


Time = Annotated[
    int | None,
    typer.Option(
        metavar="T", parser=time_us, help="Range of event times (ISO 8601) to move again."
    ),
]


def materialize(
    full: Annotated[
        bool, typer.Option("--full", help="Fill a new generation beside the live one, then switch.")
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            metavar="5m", parser=duration_s, help="Go on in rounds until SIGINT or SIGTERM."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would move; write nothing.")
    ] = False,
    since: Time = None,
    until: Time = None,
    release: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="This release rather than the one in force."),
    ] = None,
    pin: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="This release, and stay there until --unpin."),
    ] = None,
    unpin: Annotated[
        bool, typer.Option("--unpin", help="Go on with the release in force.")
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Make the prefix this home's, whoever loaded it before."),
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=65_535, help="With --every: answer Prometheus here."),
    ] = None,
    home: ExistingHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Move what is new in the release in force to Redis; a run that died is simply run again.

    Ends with 0 if all was moved or is up to date, or the prefix is pinned or was rolled back, and
    after --every by a signal; with 2 on wrong use, if Redis or a table is out of reach (all other
    views are live then), or if the prefix is another home's; with 3 if another run has the lock, or
    took it because this one stood still.
    """
    from vidtopics.cli import homes

    chosen = [full, dry_run, since is not None]
    another = [release is not None, pin is not None, unpin]
    if (
        (since is None) != (until is None)
        or (since is not None and (full or dry_run or any(another)))
        or (every and any(chosen + another + [take_over]))
    ):
        raise typer.BadParameter(
            "--since and --until go together, with no other option on what to move;"
            " --every goes with none of them"
        )
    if sum(another) > 1 or (dry_run and (pin or unpin or take_over)):
        raise typer.BadParameter(
            "--release, --pin and --unpin go one at a time; --dry-run goes with --release alone"
        )
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("--since has to lie before --until")
    if metrics_port and not every:
        raise typer.BadParameter("--metrics-port goes with --every")
    settings = homes.settings(home, config).online
    with lock_errors():
        if every:
            _rounds(home, embedded, settings, every, metrics_port, as_json)
        elif dry_run:
            _show(_preview(home, embedded, settings, full, release), as_json, dry=True)
        elif since is not None and until is not None:
            _show(_backfill(home, embedded, settings, since, until), as_json)
        else:
            asked = Asked(full, release or pin, pin is not None, unpin, take_over)
            _show(_once(home, embedded, settings, asked), as_json)


@dataclass(frozen=True)
class Asked:
    """What a run was asked for beyond the release in force."""

    full: bool = False
    release: int | None = None
    pin: bool = False
    unpin: bool = False
    take_over: bool = False


def move(
    home: Path, embedded: bool, settings: OnlineSettings, report: Callable[[Moved], None]
) -> list[Moved]:
    """Materialise into the home's Redis; StoreError where it can't be reached."""
    from vidtopics.materialization import materialize as bring
    from vidtopics.tables import Tables

    with stores.loaded(home, embedded) as connection:
        return _recorded(home, bring(Tables(home), connection, settings, report=report))


def _once(
    home: Path, embedded: bool, settings: OnlineSettings, asked: Asked = Asked()
) -> list[Moved]:
    """One run; where it brought all but some views, Feast's registry knows of the others."""
    from vidtopics.cli import show
    from vidtopics.materialization import IncompleteError, pins
    from vidtopics.materialization import materialize as bring
    from vidtopics.tables import Tables

    tables = Tables(home)
    bar = _bar("Materialising the release in force" if asked.release is None else "Materialising")
    with bar as progress, stores.loaded(home, embedded) as connection:
        if asked.unpin:
            pins.unpin(connection, settings.prefix)
        try:
            moved = bring(
                tables,
                connection,
                settings,
                full=asked.full,
                release=asked.release,
                pin=pins.who() if asked.pin else "",
                take_over=asked.take_over,
                progress=progress,
            )
        except IncompleteError as error:
            _recorded(home, error.moved)
            raise
        if not moved:
            show.console.print(show.as_text(pins.standing(connection, settings.prefix)))
        return _recorded(home, moved)


def _recorded(home: Path, moved: list[Moved]) -> list[Moved]:
    """The same, once Feast's registry says how far the views are online."""
    from vidtopics.stores.registry_intervals import record_release
    from vidtopics.tables import Tables

    record_release(Tables(home), moved)
    return moved


def _preview(
    home: Path, embedded: bool, settings: OnlineSettings, full: bool, release: int | None
) -> list[Moved]:
    from vidtopics.materialization import preview
    from vidtopics.tables import Tables

    with stores.reached(home, embedded) as connection:
        return preview(Tables(home), connection, settings, full=full, release=release)


def _backfill(
    home: Path, embedded: bool, settings: OnlineSettings, since_us: int, until_us: int
) -> list[Moved]:
    from vidtopics.materialization import Span, backfill
    from vidtopics.tables import Tables

    span = Span(since_us, until_us)
    bar = _bar("Moving a range of event times again")
    with bar as progress, stores.loaded(home, embedded) as connection:
        return backfill(Tables(home), connection, settings, span, progress=progress)


def _rounds(
    home: Path,
    embedded: bool,
    settings: OnlineSettings,
    every_s: float,
    port: int | None,
    as_json: bool,
) -> None:
    """Rounds until a signal; one that fails is said, counted, and followed by the next."""
    from rich.console import Console

    from vidtopics.materialization import IncompleteError
    from vidtopics.materialization.rounds import repeat, signals

    metrics = _metrics(home, embedded, settings) if port else None
    log = Console(stderr=True, soft_wrap=True)

    def once() -> None:
        try:
            done = _once(home, embedded, settings)
        except IncompleteError as error:
            log.print(str(error), markup=False, highlight=False)
            if metrics:
                metrics.done(error.moved)
                metrics.failed(error)
            return
        except Exception as error:  # whatever it was, a service goes on
            log.print(f"{type(error).__name__}: {error}", markup=False, highlight=False)
            if metrics:
                metrics.failed(error)
            return
        if metrics:
            metrics.done(done)
        if not all(m.up_to_date for m in done):
            _show(done, as_json)

    try:
        end = metrics.serve(port) if metrics and port else None
    except OSError as error:
        raise typer.BadParameter(f"--metrics-port {port}: {error.strerror}") from error
    with signals() as stop:
        repeat(once, every_s=every_s, stop=stop)
    if end:
        end()


def _metrics(home: Path, embedded: bool, settings: OnlineSettings) -> Any:
    from vidtopics.materialization.generations import Generations
    from vidtopics.materialization.metrics import RunMetrics
    from vidtopics.materialization.pins import pinned
    from vidtopics.materialization.releases import lag_s, loaded_release
    from vidtopics.tables import Tables

    def lag() -> float:
        with stores.reached(home, embedded) as connection:
            pin = pinned(Generations(connection, settings.prefix, settings.buckets))
            loaded = loaded_release(connection, settings.prefix)
            return lag_s(Tables(home), loaded, until=pin.release if pin else None)

    return RunMetrics(lag)


def _show(done: list[Moved], as_json: bool, *, dry: bool = False) -> None:
    from vidtopics.cli import show
    from vidtopics.materialization.rebuilds import megabytes

    if as_json:
        print_json([asdict(m) for m in done])
        return
    show.moved(done)
    for m in done:
        if m.why:
            needs = f"; it needs about {megabytes(m.needs_bytes)} of Redis" if dry else ""
            show.out.print(show.as_text(f"{m.name}: a new generation, as {m.why}{needs}"))


@contextmanager
def lock_errors() -> Iterator[None]:
    """Ends the command with LOCKED, and the message, where another run has the lock."""
    from vidtopics.materialization.lock import LockError

    try:
        yield
    except LockError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(LOCKED) from error


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    """A bar of rows for each view; a plain line where there is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from vidtopics.cli import show

    if not show.console.is_terminal:
        show.console.print(show.as_text(title))
        yield lambda name, done, total: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=show.console) as bar:
        tasks: dict[str, Any] = {}

        def progress(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield progress
