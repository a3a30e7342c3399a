"""Erase people from the home and its Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ExistingHome,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.erasure.receipts import Receipt
    from vidtopics.erasure.request import Server
    from vidtopics.settings import Settings
    from vidtopics.tables import Tables

app = typer.Typer(no_args_is_help=True)
NOT_ALL = 1
Also = Annotated[
    list[Path] | None,
    typer.Option(
        "--also",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="A folder outside the home: saved training sets, serving logs. May be repeated.",
    ),
]


@app.callback()
def _verbs() -> None:
    """Erase people from the home and its Redis."""


@app.command()
def user(
    request: Annotated[
        str, typer.Option("--request", metavar="NAME", help="What the receipt is called.")
    ],
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Whose data.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", exists=True, dir_okay=False, help="Ids, a line each."
        ),
    ] = None,
    also: Also = None,
    home: ExistingHome = DEFAULT_HOME,
    embedded: Embedded = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Erase what is held of users: log, lists, old versions, training sets, serving logs, Redis.

    Redis comes first. May be run again with the same ids after it died: it goes on. Ends with 1 if
    files still mention an id, which are named; with 2 if a table or Redis can't be reached; with 3
    while a run has the home: Redis is done then, and the command has to be run again.
    """
    from functools import partial

    from vidtopics.cli import homes, show
    from vidtopics.erasure.ids import Ids
    from vidtopics.erasure.request import erase
    from vidtopics.releases.lock import hold
    from vidtopics.tables import Tables

    settings, tables = homes.settings(home, config), Tables(home)
    people = Ids.of([*(ids or []), *_lines(file)], settings.erasure.user_columns)
    with (
        servers(home, embedded, settings, tables) as reached,
        show.working("Erasing") as progress,
    ):
        receipt = erase(
            tables,
            people,
            request,
            settings.erasure,
            servers=reached,
            also=also or (),
            hold=partial(hold, home, "vidtopics erase"),
            progress=progress,
        )
    if as_json:
        from dataclasses import asdict

        print_json(asdict(receipt))
    else:
        _show(receipt, len(people.values))
    if receipt.remaining:
        raise typer.Exit(NOT_ALL)


@contextmanager
def servers(
    home: Path, embedded: bool, settings: Settings, tables: Tables
) -> Iterator[list[Server]]:
    """The servers that have data of the home: the named one, and its own if it ever had one.

    Where another one is named, its own is stopped again if it wasn't running.
    """
    from contextlib import ExitStack
    from functools import partial

    from vidtopics import server
    from vidtopics.cli import stores
    from vidtopics.contracts import RELEASES
    from vidtopics.erasure.request import Server
    from vidtopics.materialization import lock, owners
    from vidtopics.online.connections import connect

    prefix, urls = settings.online.prefix, []
    with ExitStack() as stack:
        if named := server.named_url(home, embedded=embedded):
            urls.append(named)
        if (home / "redis").is_dir():
            if named and not server.running(home):
                stack.callback(server.stop, home)
            urls.append(server.start(home))
        reached = []
        for url in dict.fromkeys(urls):
            stack.enter_context(stores.reaching(url))
            connection = stack.enter_context(connect(url, timeout_s=stores.TIMEOUT_S))
            if tables.exists(RELEASES):
                owners.check(connection, prefix, tables)
            held = partial(lock.hold, connection, prefix)
            reached.append(Server(server.plain(url), connection, prefix, held))
        yield reached


def _lines(file: Path | None) -> list[str]:
    """Ids of a file, a line each; empty lines are passed over."""
    from vidtopics.errors import InputError, explain

    if file is None:
        return []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(
            explain(
                str(file),
                expected="ids in UTF-8, a line each",
                found=str(error),
                mend="save it as UTF-8",
            )
        ) from error
    return [line for line in lines if line.strip()]


def _counted(number: int, kind: str) -> str:
    """Kinds are plurals.

    >>> _counted(1, "dead_letters"), _counted(2, "rows")
    ('1 dead letter', '2 rows')
    """
    name = kind.replace("_", " ")
    return f"{number:,} {name.removesuffix('s') if number == 1 else name}"


def _show(receipt: Receipt, people: int) -> None:
    from rich.table import Table

    from vidtopics.cli import show
    from vidtopics.times import moment

    table = Table("place", "erased", box=None, header_style="bold")
    for where, numbers in receipt.erased.items():
        went = ", ".join(_counted(n, kind) for kind, n in numbers.items())
        table.add_row(show.as_text(where), went)
    if receipt.erased:
        show.out.print(table)
    else:
        show.out.print("Nothing was held.")
    for item in receipt.derived:
        made = moment(item["made_us"])[:16].replace("T", " ")
        days = (time.time() - item["made_us"] / 1e6) / 86_400
        text = f"{item['what']}, of {made} ({days:.1f} d old); ends with: {item['ends_with']}"
        show.out.print(show.as_text(text), soft_wrap=True)
    for line in receipt.remaining:
        show.out.print(show.as_text(f"Not erased: {line}"), soft_wrap=True)
    who = f"{people:,} {'person' if people == 1 else 'people'}"
    text = f"Request {receipt.request}, {who}: {receipt.state}, erasures/{receipt.request}.json"
    show.out.print(show.as_text(text), soft_wrap=True)
