"""`vidtopics releases`: every release, what became of it, and where it is live."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, ReadableHome, print_json

if TYPE_CHECKING:
    from vidtopics.erasure.receipts import Receipt
    from vidtopics.releases.waiting import Waiting
    from vidtopics.tables.releases import Release

SHOWN = 20
HOUR, DAY = 3_600, 86_400


def releases(
    everything: Annotated[
        bool, typer.Option("--all", help=f"All of them; the last {SHOWN} if left out.")
    ] = False,
    home: ReadableHome = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """List releases with their state, what gates said of them, and which store serves them."""
    from vidtopics.erasure.receipts import Receipts
    from vidtopics.releases.loads import live_now, read_loads
    from vidtopics.releases.waiting import waiting
    from vidtopics.tables import Tables
    from vidtopics.tables.releases import in_force, read_log

    tables = Tables(home)
    log = read_log(tables)
    current, last = in_force(log), waiting(log)
    live = live_now(read_loads(tables))
    latest = list({row.release_id: row for row in log}.values())
    shown = latest if everything else latest[-SHOWN:]
    number = current.release_id if current else None
    erased = [_erasure(receipt) for receipt in Receipts(tables.home).all() if receipt.releases]
    if as_json:
        rows = [_plain(row) for row in log if row.release_id in {r.release_id for r in shown}]
        loads = {store: asdict(load) for store, load in live.items()}
        report = {"in_force": number, "waiting": _plain_waiting(last), "live": loads}
        print_json({**report, "releases": rows, "erasures": erased})
        return
    stores: dict[int, list[str]] = {}
    for store, load in live.items():
        stores.setdefault(load.release_id, []).append(store)
    _show(shown, number, stores)
    if last:
        from vidtopics.cli.show import as_text, out

        out.print(as_text(sentence(last, number, time.time())), soft_wrap=True)
    for erasure in erased:
        typer.echo(
            f"Releases up to {max(erasure['releases'])} are without {erasure['people']:,} erased"
            f" (request {erasure['request']}, {erasure['at'][:16].replace('T', ' ')})"
        )


def _plain_waiting(last: Waiting | None) -> dict[str, Any] | None:
    from vidtopics.times import moment

    if last is None:
        return None
    return {
        "release": last.release.release_id,
        "state": last.release.state,
        "since": moment(last.since_us),
        "age_s": round(time.time() - last.since_us / 1e6),
    }


def sentence(last: Waiting, in_force: int | None, now_s: float) -> str:
    """For how long consumers have had nothing new, and what ends it.

    >>> from vidtopics.releases.waiting import Waiting
    >>> from vidtopics.tables.releases import Release
    >>> rejected = Release(7, "rejected", 0, 0, {}, verdicts={"topics.rows": "block: 0 is below 1"})
    >>> text = sentence(Waiting(rejected, 0), 6, 187_200)
    >>> text.partition("than ")[2].partition(". ")[0]
    'release 6 for 2.2 d (since 1970-01-01 00:00 UTC)'
    """
    from vidtopics.releases.allowing import NEVER_ALLOWED
    from vidtopics.times import moment

    blocked = [name for name, text in last.release.verdicts.items() if text.startswith("block")]
    allowed = "".join(f" --allow {name}" for name in blocked)
    by_hand = f", or: vidtopics release{allowed} --because TEXT"
    newer = f"nothing newer than release {in_force}" if in_force else "no release"
    since = moment(last.since_us)[:16].replace("T", " ")
    return (
        f"Release {last.release.release_id} waits, and consumers have had {newer} for"
        f" {_age(now_s - last.since_us / 1e6)} (since {since} UTC). Mend the cause and run again"
        f"{'' if NEVER_ALLOWED in blocked else by_hand}"
    )


def _age(seconds: float) -> str:
    """As a person says it.

    >>> _age(90), _age(7_200), _age(400_000)
    ('2 min', '2.0 h', '4.6 d')
    """
    if seconds < HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} d"


def _erasure(receipt: Receipt) -> dict[str, Any]:
    """Which releases are without how many people, and since when."""
    from vidtopics.times import moment

    return {
        "request": receipt.request,
        "people": len(receipt.people),
        "at": moment(receipt.requested_us),
        "releases": receipt.releases,
    }


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
