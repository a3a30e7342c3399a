"""`vidtopics releases`: every release, what became of it, and where it is live."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, ReadableHome, print_json

if TYPE_CHECKING:
    from vidtopics.tables.releases import Release

SHOWN = 20


def releases(
    everything: Annotated[
        bool, typer.Option("--all", help=f"All of them; the last {SHOWN} if left out.")
    ] = False,
    home: ReadableHome = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """List releases with their state, what gates said of them, and which store serves them."""
    from vidtopics.releases.loads import live_now, read_loads
    from vidtopics.tables import Tables
    from vidtopics.tables.releases import in_force, read_log

    tables = Tables(home)
    log = read_log(tables)
    current = in_force(log)
    live = live_now(read_loads(tables))
    latest = list({row.release_id: row for row in log}.values())
    shown = latest if everything else latest[-SHOWN:]
    number = current.release_id if current else None
    if as_json:
        rows = [_plain(row) for row in log if row.release_id in {r.release_id for r in shown}]
        loads = {store: asdict(load) for store, load in live.items()}
        print_json({"in_force": number, "live": loads, "releases": rows})
        return
    stores: dict[int, list[str]] = {}
    for store, load in live.items():
        stores.setdefault(load.release_id, []).append(store)
    _show(shown, number, stores)


def _plain(row: Release) -> dict[str, Any]:
    from vidtopics.times import moment

    times = {"as_of": moment(row.as_of_us), "at": moment(row.created_us)}
    plain = {k: v for k, v in asdict(row).items() if k not in ("as_of_us", "created_us")}
    return {**plain, **times}


def _show(rows: list[Release], in_force: int | None, stores: dict[int, list[str]]) -> None:
    from rich.table import Table

    from vidtopics.cli.show import as_text, out
    from vidtopics.times import moment

    table = Table(box=None, header_style="bold")
    for name in ("release", "state", "at (UTC)", "as of (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("by", "live in"):
        table.add_column(name, overflow="fold")
    for row in rows:
        state = "in force" if row.release_id == in_force else row.state.replace("_", " ")
        times = (moment(us)[:16].replace("T", " ") for us in (row.created_us, row.as_of_us))
        live = "\n".join(stores.get(row.release_id, ()))
        table.add_row(str(row.release_id), state, *times, as_text(row.by), as_text(live))
    out.print(table)
    for row in rows:
        for remark in _remarks(row):
            out.print(as_text(f"Release {row.release_id}: {remark}"), soft_wrap=True)


def _remarks(row: Release) -> list[str]:
    """Why it came, and what gates blocked, warned of or were told to let pass.

    >>> from vidtopics.tables.releases import Release
    >>> verdicts = {"topics.gini": "warn: 0.9 is above 0.8", "topics.rows": "ok"}
    >>> _remarks(Release(1, "released", 0, 0, {}, verdicts=verdicts, why="rollback to 3: slip"))
    ['rollback to 3: slip', 'topics.gini warn: 0.9 is above 0.8']
    """
    prefixes = ("block", "warn", "allowed")
    notes = [f"{name} {text}" for name, text in row.verdicts.items() if text.startswith(prefixes)]
    return [*([row.why] if row.why else []), *notes]
