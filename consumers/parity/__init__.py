"""Was what was served what the tables say? A serving log, replayed against them.

Check 1 must be zero: every served value is the table's row with those times, at or below the
watermark, and the one that last-writer-wins picks there. Check 2 is a rate: how often the
point-in-time join at the request's time, which training uses, gives another value. `docs/parity.md`
tells them with examples.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np

from consumers.parity.checks import Checker, Findings, Verdict
from consumers.parity.history import EntityRows
from consumers.parity.log import CHUNK_ROWS, Chunk, Log
from consumers.parity.report import Limits, Report, ViewReport, add
from vidtopics.contracts import VIEWS
from vidtopics.layout import Schema
from vidtopics.releases.served import servings
from vidtopics.tables import Tables

__all__ = ["Findings", "Limits", "Report", "Verdict", "ViewReport", "replay"]


def replay(
    tables: Tables,
    folder: Path,
    *,
    served: bool = False,
    examples: int = 5,
    chunk_rows: int = CHUNK_ROWS,
) -> Report:
    """Hold a serving log against the tables.

    Args:
        tables: the home whose tables were materialised.
        folder: where the client's ServingLog wrote.
        served: check 2 joins with what could have been served, by the load log, and not with what
            was committed.
        examples: shown of each kind in each view.
        chunk_rows: served rows in memory at once, with every row that their entities ever had.

    Raises:
        InputError: there is no log.
        TableError: a view that was served has no table here; with `served`, no release went live.
    """
    log, report = Log(folder), Report({})
    for chunk in log.chunks(chunk_rows):
        view = report.views.setdefault(chunk.view, ViewReport(chunk.view))
        report.max_skew_us = max(
            report.max_skew_us, int(np.abs(chunk.server_us - chunk.client_us).max(initial=0))
        )
        _check(tables, chunk, view, examples, served)
    report.counted(log)
    return report


def _check(tables: Tables, chunk: Chunk, view: ViewReport, examples: int, served: bool) -> None:
    table = VIEWS.get(chunk.view)
    if table is None or not set(chunk.names) <= {f.name for f in Schema.of(table).fields}:
        view.requests += len(chunk.lines)
        view.rows += len(chunk.ids)
        view.verdicts[Verdict.OTHER_TABLE] += len(chunk.ids)
        return
    assert table.view is not None
    versions = {m.version for side in ("floor", "ceiling") for m in chunk.marks(side) if m}
    history = EntityRows.read(tables, table, chunk.names, chunk.keys[0], versions)
    serving = servings(tables, [table])[table.name] if served else None
    checker = Checker(chunk, history, table.view.ttl // timedelta(microseconds=1), serving)
    add(view, table, checker, checker.findings(), examples)
