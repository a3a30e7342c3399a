"""`vidtopics maintain`: upkeep of the home's tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vidtopics.cli.common import (
    DEFAULT_HOME,
    FAILED,
    AsJson,
    Config,
    WrittenHome,
    print_json,
)

if TYPE_CHECKING:
    from vidtopics.maintenance import Maintained


def maintain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, with bytes; write nothing.")
    ] = False,
    home: WrittenHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Compact small files, write checkpoints, and remove what no release or horizon names.

    Ends with 0, also where another writer was first (that table's rest waits for the next time);
    with 2 if a table can't be maintained, once the others are; with 3 while a run has the lock.
    """
    from contextlib import nullcontext

    from vidtopics.cli import homes, show
    from vidtopics.maintenance import maintain as keep
    from vidtopics.releases.lock import hold
    from vidtopics.tables import Tables

    settings = homes.settings(home, config).maintenance
    lock = nullcontext() if dry_run else hold(home, "vidtopics maintain")
    with show.working("Maintaining the tables") as progress, lock:
        done = keep(
            Tables(home),
            settings,
            dry_run=dry_run,
            report=lambda maintained: progress(maintained.table),
        )
    if as_json:
        print_json([asdict(maintained) for maintained in done])
    else:
        _show(done)
    if any(maintained.fault for maintained in done):
        raise typer.Exit(FAILED)


def _show(done: list[Maintained]) -> None:
    from rich.table import Table

    from vidtopics.cli import show
    from vidtopics.faults import size

    header = ("table", "files", "size", "compacted", "removed", "log entries", "checkpoint")
    table = Table(*header, box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for m in done:
        merged = f"{m.compacted:,} ({size(m.compacted_bytes)})" if m.compacted else ""
        removed = f"{m.removed_files:,} ({size(m.removed_bytes)})" if m.removed_files else ""
        entries = f"{m.removed_entries:,}" if m.removed_entries else ""
        checkpoint = "" if m.checkpoint is None else str(m.checkpoint)
        table.add_row(m.table, f"{m.files:,}", size(m.bytes), merged, removed, entries, checkpoint)
    show.out.print(table)
    for m in done:
        if m.skipped or m.fault:
            show.out.print(show.as_text(f"{m.table}: {m.skipped or m.fault}"))
