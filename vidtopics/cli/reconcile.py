"""`vidtopics reconcile`: does Redis hold what the tables hold?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    AsJson,
    Config,
    Embedded,
    ReadableHome,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.materialization.reconcile import Reconciled


def reconcile(
    sample: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Values of each view, and lists of each kind, to compare byte for byte.",
        ),
    ] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", help="Another one chooses others.")] = 0,
    home: ReadableHome = DEFAULT_HOME,
    config: Config = None,
    embedded: Embedded = False,
    as_json: AsJson = False,
) -> None:
    """Compare Redis with the tables as loaded: all keys, and a sample of values and lists.

    Ends with 0 if all is as the tables say; with 1 if a key is missing or foreign, a value or list
    differs, or nothing was loaded; with 2 if Redis or a table is out of reach; with 3 while another
    run has the lock.
    """
    from vidtopics.cli import homes, show, stores
    from vidtopics.cli.materialize import lock_errors
    from vidtopics.materialization.reconcile import reconcile as compare
    from vidtopics.tables import Tables

    settings = homes.settings(home, config).online
    with (
        show.working("Comparing Redis with the tables") as progress,
        lock_errors(),
        stores.reached(home, embedded) as connection,
    ):
        reconciled = compare(
            Tables(home),
            connection,
            settings,
            sample=sample,
            seed=seed,
            report=lambda view: progress(view.name),
        )
    if as_json:
        print_json([asdict(view) for view in reconciled])
    else:
        _show(reconciled)
    if not reconciled or any(view.faults for view in reconciled):
        raise typer.Exit(1)


def _show(reconciled: list[Reconciled]) -> None:
    from rich.table import Table

    from vidtopics.cli import show

    table = Table(
        "view or lists",
        "version",
        "live",
        "ended",
        "keys",
        "compared",
        "newer",
        "faults",
        box=None,
        header_style="bold",
    )
    for view in reconciled:
        faults = "; ".join(
            f"{kind} {count:,}: {', '.join(view.examples.get(kind, []))}"
            for kind, count in view.faults.items()
        )
        counts = (f"{n:,}" for n in (view.live, view.ended, view.keys, view.compared, view.newer))
        name, version = show.as_text(view.name), str(view.version)
        table.add_row(name, version, *counts, show.as_text(faults or "none"))
    show.out.print(table)
