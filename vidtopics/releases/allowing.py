"""Releasing by name what a gate blocked, or what wasn't computed from one another."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from vidtopics.errors import SettingsError, TableError, explain
from vidtopics.releases.waiting import waiting
from vidtopics.tables.releases import Release, append, in_force, operator, read_log

if TYPE_CHECKING:
    from vidtopics.tables import Tables

NEVER_ALLOWED = "topics.epoch"
"""The verdict on tables of several topic epochs: no consumer could read them together."""


def allow(tables: Tables, gates: Collection[str], because: str, *, run: int) -> Release:
    """Release the last candidate or rejected release; its row.

    Args:
        tables: the home's tables.
        gates: what blocks it, all of it by name.
        because: the reason, for the log.
        run: the number of the lock's holder.

    Raises:
        TableError: no release waits, or its tables are of several topic epochs.
        SettingsError: a gate that isn't blocked is named, or one that is isn't.
    """
    last = _last(tables)
    blocked = {name for name, text in last.verdicts.items() if text.startswith("block")}
    where = f"release {last.release_id}"
    if NEVER_ALLOWED in blocked:
        raise TableError(
            explain(
                where,
                expected="tables of one topic epoch",
                found=last.verdicts[NEVER_ALLOWED].removeprefix("block: "),
                mend="vidtopics run",
            )
        )
    if set(gates) != blocked:
        others, missing = sorted(set(gates) - blocked), sorted(blocked - set(gates))
        raise SettingsError(
            explain(
                where,
                expected=f"--allow {' --allow '.join(sorted(blocked))}, which block it",
                found=f"{', '.join(missing)} not allowed"
                if missing
                else f"{', '.join(others)}, which nothing blocks",
                mend="name each gate that may pass, and no other",
            )
        )
    verdicts = dict.fromkeys(gates, f"allowed: {because}")
    row = replace(
        last,
        state="released",
        created_us=time.time_ns() // 1000,
        verdicts={**last.verdicts, **verdicts},
        by=operator(),
        why=because,
    )
    append(tables, [row], run=run)
    return row


def _last(tables: Tables) -> Release:
    """The last release if it is a candidate or rejected; TableError where none waits."""
    log = read_log(tables)
    if last := waiting(log):
        return last.release
    current = in_force(log)
    raise TableError(
        explain(
            str(tables.home),
            expected="a release that waits for --allow",
            found=f"that release {current.release_id} is in force" if current else "no release",
            mend="vidtopics run; `vidtopics releases` lists all",
        )
    )
