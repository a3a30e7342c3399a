"""Upkeep of a home's tables: compaction, checkpoints, and the removal of what nobody names.

docs/tables.md, "Maintenance", has the rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from deltalake.exceptions import CommitFailedError, DeltaError

from vidtopics.contracts import TABLES, Table
from vidtopics.errors import VidtopicsError
from vidtopics.faults import without_stack
from vidtopics.maintenance.names import Names, named_versions
from vidtopics.maintenance.reports import Maintained
from vidtopics.maintenance.upkeep import Upkeep
from vidtopics.settings import MaintenanceSettings
from vidtopics.tables import Tables

__all__ = ["Maintained", "maintain"]


def maintain(
    tables: Tables,
    settings: MaintenanceSettings,
    *,
    dry_run: bool = False,
    report: Callable[[Maintained], None] = lambda maintained: None,
) -> list[Maintained]:
    """Compact, checkpoint and clean every table of a home; what each needed.

    Another writer's commit in between ends the upkeep of that table for now; a table that can't be
    maintained stops no other. Run again, it finds nothing to do.

    Args:
        tables: the home's tables.
        settings: how long versions stay readable.
        dry_run: only count; nothing is written.
        report: called after each table.
    """
    now_us = time.time_ns() // 1_000
    since_us = now_us - settings.keep_releases // timedelta(microseconds=1)
    names = named_versions(tables, since_us=since_us)
    done = []
    for table in TABLES.values():
        if tables.exists(table):
            done.append(_table(tables, table, settings, names, now_us, dry_run))
            report(done[-1])
    return done


def _table(
    tables: Tables,
    table: Table,
    settings: MaintenanceSettings,
    names: Names,
    now_us: int,
    dry_run: bool,
) -> Maintained:
    maintained = Maintained(table.name)
    try:
        delta = tables.delta(table)
        Upkeep(delta, settings, names.get(table.name, frozenset()), now_us, maintained).run(dry_run)
    except CommitFailedError as error:
        maintained.skipped = f"another writer was first: {without_stack(error)}"
    except (VidtopicsError, DeltaError) as error:
        maintained.fault = without_stack(error)
    return maintained
