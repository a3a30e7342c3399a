"""`vidtopics materialize`: the latest release into Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli import rounds, stores
from vidtopics.cli.common import (
    BUSY,
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ReadableHome,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.materialization import Moved
    from vidtopics.materialization.loading import Progress
    from vidtopics.settings import OnlineSettings, Settings


def time_us(text: str) -> int:
    """Microseconds of an ISO 8601 time; UTC where it has no offset.

    >>> time_us("1970-01-01T00:00:01Z") == time_us("1970-01-01T00:00:01") == 1_000_000
    True
    """
    from datetime import UTC, datetime

    from vidtopics.times import micros

    time = datetime.fromisoformat(text)
    return micros(time if time.tzinfo else time.replace(tzinfo=UTC))


Time = Annotated[
    int | None,
    typer.Option(
        metavar="T", parser=time_us, help="Range of event times (ISO 8601) to move again."
    ),
]


@rounds.monitored
def materialize(
    context: typer.Context,
    full: Annotated[
        bool, typer.Option("--full", help="Fill a new generation beside the live one, then switch.")
    ] = False,
    every: Annotated[
        float | None, rounds.pace("5m", "Go on in rounds until SIGINT or SIGTERM.")
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
    watch: rounds.Monitoring = rounds.UNWATCHED,
    home: ReadableHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Move what is new in the release in force to Redis; a run that died is simply run again.

    Ends with 0 if all was moved or is up to date, or the prefix is pinned or was rolled back, and
    after --every by a signal; with 2 on wrong use, if Redis or a table is out of reach (all other
    views are live then), or if the prefix is another home's; with 3 if another run has the lock, or
    took it because this one stood still; with 5 after --max-failures.
    """
    from vidtopics.cli import homes

    rounds.refuse_without("--every", context, is_service=every is not None)
    chosen = [full, dry_run, since is not None]
    another = [release is not None, pin is not None, unpin]
    if (
        (since is None) != (until is None)
        or (since is not None and (full or dry_run or any(another)))
        or (every and any(chosen + another + [take_over, as_json]))
    ):
        raise typer.BadParameter(
            "--since and --until go together, with no other option on what to move;"
            " --every goes with none of them, and with --log-format json in the place of --json"
        )
    if sum(another) > 1 or (dry_run and (pin or unpin or take_over)):
        raise typer.BadParameter(
            "--release, --pin and --unpin go one at a time; --dry-run goes with --release alone"
        )
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter("--since has to lie before --until")
    whole = homes.settings(home, config)
    settings = whole.online
    with lock_errors():
        if every:
            work = rounds.materialize_work(home, embedded, whole, every)
            rounds.serve(home, embedded, settings, [work], watch)
        elif dry_run:
            _show(_preview(home, embedded, settings, full, release), as_json, dry=True)
        elif since is not None and until is not None:
            _show(_backfill(home, embedded, settings, since, until), as_json)
        else:
            asked = Asked(full, release or pin, pin is not None, unpin, take_over)
            with _showing_what_was_moved(as_json):
                _show(_once(home, embedded, whole, asked), as_json)


@dataclass(frozen=True)
class Asked:
    """What a run was asked for beyond the release in force."""

    full: bool = False
    release: int | None = None
    pin: bool = False
    unpin: bool = False
    take_over: bool = False


def move(
    home: Path,
    embedded: bool,
    settings: Settings,
    report: Callable[[Moved], None],
    warn: Callable[[str], None] = stores.print_warning,
) -> list[Moved]:
    """Materialise into the home's Redis; StoreError where it can't be reached.

    A home in a bucket is looked at anew: this is what a round calls.
    """
    from vidtopics.materialization import IncompleteError
    from vidtopics.materialization import materialize as bring
    from vidtopics.storage.mirrors import refresh
    from vidtopics.tables import Tables

    refresh(home)
    with stores.loaded(home, embedded, warn) as connection:
        try:
            moved = bring(
                Tables(home),
                connection,
                settings.online,
                gates=settings.gates,
                report=report,
                load_ordering=stores.load_ordering(settings),
            )
        except IncompleteError as error:
            _recorded(home, error.moved)
            raise
        return _recorded(home, moved)


def _once(home: Path, embedded: bool, settings: Settings, asked: Asked = Asked()) -> list[Moved]:
    """One run; where it brought all but some views, Feast's registry knows of the others."""
    from vidtopics.cli import show
    from vidtopics.materialization import IncompleteError, pins
    from vidtopics.materialization import materialize as bring
    from vidtopics.tables import Tables

    tables = Tables(home)
    bar = _bar("Materialising the release in force" if asked.release is None else "Materialising")
    with bar as progress, stores.loaded(home, embedded) as connection:
        if asked.unpin:
            pins.unpin(connection, settings.online.prefix)
        try:
            moved = bring(
                tables,
                connection,
                settings.online,
                gates=settings.gates,
                full=asked.full,
                release=asked.release,
                pin=pins.who() if asked.pin else "",
                take_over=asked.take_over,
                progress=progress,
                load_ordering=stores.load_ordering(settings),
            )
        except IncompleteError as error:
            _recorded(home, error.moved)
            raise
        if not moved:
            show.console.print(show.as_text(pins.standing(connection, settings.online.prefix)))
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
    from vidtopics.cli import show
    from vidtopics.materialization import pins, preview
    from vidtopics.tables import Tables

    with stores.reached(home, embedded) as connection:
        would_move = preview(Tables(home), connection, settings, full=full, release=release)
        if not would_move:
            show.console.print(show.as_text(pins.standing(connection, settings.prefix)))
        return would_move


def _backfill(
    home: Path, embedded: bool, settings: OnlineSettings, since_us: int, until_us: int
) -> list[Moved]:
    from vidtopics.materialization import Span, backfill
    from vidtopics.tables import Tables

    span = Span(since_us, until_us)
    bar = _bar("Moving a range of event times again")
    with bar as progress, stores.loaded(home, embedded) as connection:
        return backfill(Tables(home), connection, settings, span, progress=progress)


def _show(done: list[Moved], as_json: bool, *, dry: bool = False) -> None:
    from vidtopics.cli import show
    from vidtopics.materialization.rebuilds import megabytes

    if as_json:
        print_json([asdict(m) for m in done])
        return
    if done:
        show.moved(done)
    for m in done:
        if m.why:
            needs = f"; it needs about {megabytes(m.needs_bytes)} of Redis" if dry else ""
            show.out.print(show.as_text(f"{m.name}: a new generation, as {m.why}{needs}"))


@contextmanager
def _showing_what_was_moved(as_json: bool) -> Iterator[None]:
    """Where a run brought all but some views, what it did to each, before the error."""
    from vidtopics.materialization import IncompleteError

    try:
        yield
    except IncompleteError as error:
        _show(error.moved, as_json)
        raise


@contextmanager
def lock_errors() -> Iterator[None]:
    """Ends the command with BUSY, and the message, where another run has the lock."""
    from vidtopics.materialization.lock import LockError

    try:
        yield
    except LockError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(BUSY) from error


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
