"""The gate before Redis: rows that no release's gates have judged."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vidtopics.contracts import RELEASES, Table
from vidtopics.errors import StoreError, explain
from vidtopics.gates.keys import key_figures
from vidtopics.gates.verdicts import Verdict, grade
from vidtopics.gates.versions import opened
from vidtopics.settings import GateSettings
from vidtopics.tables import Tables

SHARES = ("ended_share", "appeared_share")


def before_load(
    tables: Tables,
    table: Table,
    loaded: int | None,
    version: int,
    *,
    verdicts: Mapping[str, str],
    settings: GateSettings,
) -> list[Verdict]:
    """Refuse a load that would end, or bring, too large a share of a view's keys.

    A table whose version was judged with its release costs nothing here. What somebody wrote into a
    table, and released without gates, is held against what Redis was loaded from.

    Args:
        tables: the home's tables.
        table: of the view that is to be loaded.
        loaded: the version that the view was loaded from; None: it holds nothing (a first load).
        version: the version to load.
        verdicts: what the gates said of this version when it was released, by the figure's name.
        settings: the limits.

    Raises:
        StoreError: a share passes its block limit; names gate, figure, limit and keys.
        TableError: one of the versions doesn't open.
    """
    if is_judged(table, verdicts):
        return []
    before = {} if loaded is None else {table.name: loaded}
    with opened(tables, before, {table.name: version}) as releases:
        figures = (f for f in key_figures(releases, table) if f.name.endswith(SHARES))
        judged = [grade(figure, settings) for figure in figures]
    for verdict in judged:
        if verdict.verdict == "block":
            raise _refused(table, verdict, loaded, version)
    return judged


def is_judged(table: Table, verdicts: Mapping[str, str]) -> bool:
    """Whether a release's verdicts have this table's.

    >>> from vidtopics.contracts import TOPICS
    >>> is_judged(TOPICS, {"topics.rows": "ok"}), is_judged(TOPICS, {"topic_queues.rows": "ok"})
    (True, False)
    """
    return any(name.startswith(f"{table.name}.") for name in verdicts)


def verdicts_of(tables: Tables, table: Table, version: int) -> dict[str, str]:
    """What the gates said of a table's version, in whichever release it came with.

    A release that doesn't change a table has no verdicts of it.
    """
    rows = tables.read(RELEASES, columns=["versions", "verdicts"]).to_pylist()
    verdicts: dict[str, str] = {}
    for row in rows:
        if dict(row["versions"]).get(table.name) == version:
            verdicts |= dict(row["verdicts"] or ())
    return verdicts


def _refused(table: Table, verdict: Verdict, loaded: int | None, version: int) -> StoreError:
    keys: Collection[str] = verdict.examples
    return StoreError(
        explain(
            f"{table.name}, version {version}, which no release's gates have judged, into Redis",
            expected=f"{verdict.name} at most {verdict.block:g} of what version {loaded} has",
            found=f"{verdict.figure:.4g} ({', '.join(keys)})",
            mend="run `vidtopics run`, which judges what it releases, or raise "
            f"gates.tables.{verdict.name}.block in the settings",
        )
    )
