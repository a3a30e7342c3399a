"""The gate before Redis: versions that came into a release without being judged."""

from __future__ import annotations

from collections.abc import Iterable

from vidtopics.contracts import Table
from vidtopics.errors import StoreError, explain
from vidtopics.gates.keys import key_figures
from vidtopics.gates.verdicts import Verdict, grade
from vidtopics.gates.versions import opened
from vidtopics.settings import GateSettings
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release

SHARES = ("ended_share", "appeared_share")


def before_load(
    tables: Tables,
    table: Table,
    loaded: int | None,
    version: int,
    *,
    log: Iterable[Release],
    settings: GateSettings,
) -> list[Verdict]:
    """Refuse a load that would end, or bring, too large a share of a view's keys.

    A version that was judged, or let pass by name, when it was released costs nothing here. One
    that somebody named in a release past the gates is held against what Redis was loaded from.

    Args:
        tables: the home's tables.
        table: of the view that is to be loaded.
        loaded: the version that the view was loaded from; None: it holds nothing (a first load).
        version: the version to load.
        log: the rows of `releases`.
        settings: the limits.

    Returns:
        What was judged here; empty where a release's gates had done so.

    Raises:
        StoreError: a share passes its block limit; names gate, figure, limit and keys.
        TableError: one of the versions doesn't open.
    """
    if loaded == version or is_judged(log, table, version):
        return []
    before = {} if loaded is None else {table.name: loaded}
    with opened(tables, before, {table.name: version}) as releases:
        figures = (f for f in key_figures(releases, table) if f.name.endswith(SHARES))
        verdicts = [grade(figure, settings) for figure in figures]
    for verdict in verdicts:
        if verdict.verdict == "block":
            raise _refused(table, verdict, loaded, version)
    return verdicts


def is_judged(log: Iterable[Release], table: Table, version: int) -> bool:
    """Whether a release of this version of a table has verdicts on it.

    A release that doesn't change a table has none; then an earlier one that names the version has.

    >>> from dataclasses import replace
    >>> from vidtopics.contracts import TOPICS
    >>> row = Release(1, "released", 0, 0, {"topics": 3}, verdicts={"topics.rows": "ok"})
    >>> is_judged([row], TOPICS, 3), is_judged([row], TOPICS, 4)
    (True, False)
    >>> is_judged([replace(row, state="rejected")], TOPICS, 3)
    False
    """
    rows = (row for row in log if row.state == "released")
    named = (row for row in rows if row.versions.get(table.name) == version)
    return any(gate.startswith(f"{table.name}.") for row in named for gate in row.verdicts)


def _refused(table: Table, verdict: Verdict, loaded: int | None, version: int) -> StoreError:
    return StoreError(
        explain(
            f"{table.name}, version {version}, which no release's gates have judged, into Redis",
            expected=f"{verdict.name} of at most {verdict.block:g} against version {loaded}, which"
            " was loaded",
            found=f"{verdict.figure:.4g} ({', '.join(verdict.examples)})",
            mend="`vidtopics run` judges what it releases; where this change is meant, set"
            f" gates.tables.{verdict.name}",
        )
    )
