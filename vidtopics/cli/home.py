"""`vidtopics home`: a home as a whole, copied between folders and buckets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import AsJson, print_json

if TYPE_CHECKING:
    from vidtopics.storage.copying import Copy, Progress

app = typer.Typer(no_args_is_help=True)
Place = Annotated[
    str,
    typer.Argument(
        metavar="PLACE",
        help="A folder, s3://bucket/prefix, gs://bucket/prefix or"
        " abfss://container@account.dfs.core.windows.net/prefix.",
    ),
]


@app.callback()
def home() -> None:
    """Work on a home as a whole."""


@app.command()
def copy(
    source: Place,
    target: Place,
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Go on with a copy that another machine or source began."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a home, and verify what is there then; a copy that died is simply run again.

    What is there already with the same bytes isn't sent again. Ends with 2, and changes nothing, if
    the target is another home or has commits that the source lacks.
    """
    from vidtopics.cli import show
    from vidtopics.storage import Address
    from vidtopics.storage.copying import copy_home

    started = time.monotonic()
    with _progress(f"Copying {source}") as progress:
        done = copy_home(
            Address.parse(source, "the home to copy"),
            Address.parse(target, "the place for the copy"),
            take_over=take_over,
            progress=progress,
        )
    seconds = round(time.monotonic() - started, 2)
    if as_json:
        print_json(asdict(done) | {"seconds": seconds})
        return
    for line in [*lines(done), f"{seconds} s"]:
        show.out.print(show.as_text(line), soft_wrap=True)


def lines(copy: Copy) -> Iterator[str]:
    """What a copy did, for people."""
    yield f"{copy.target} is a copy of {copy.source}, home {copy.home_id}"
    yield (
        f"sent {copy.sent:,} files, {_megabytes(copy.sent_bytes)};"
        f" there already {copy.same:,}, {_megabytes(copy.same_bytes)}"
    )
    yield (
        f"verified: all {copy.sent + copy.same:,} by size, {copy.by_tag:,} by the store's MD5,"
        f" {copy.by_reading:,} read back and compared by SHA-256"
    )
    if copy.left_out:
        names = ", ".join(f"{name} ({count:,})" for name, count in sorted(copy.left_out.items()))
        yield f"left out, as it belongs to the source's machine: {names}"
    if copy.extra:
        yield f"of earlier copies, no longer in the source: {copy.extra:,} files, left as they are"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


@contextmanager
def _progress(title: str) -> Iterator[Progress]:
    """The stage and how many of its files are done."""
    from vidtopics.cli import show

    with show.working(title) as step:
        yield lambda stage, done, total: step(f"{stage.name.lower()}, {done:,} of {total:,}")
