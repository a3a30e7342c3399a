"""All figures of a candidate release, each held to its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vidtopics.contracts import DERIVED, TABLES, VIDEO_CATALOG, VIDEO_TAGS, Table
from vidtopics.gates.ages import LOGS, age_figures
from vidtopics.gates.drift import drift_figures
from vidtopics.gates.keys import key_figures, null_figures
from vidtopics.gates.topics import topic_figures
from vidtopics.gates.vectors import vector_figures
from vidtopics.gates.verdicts import Figure, Verdict, grade
from vidtopics.gates.versions import Releases, opened
from vidtopics.settings import GateSettings
from vidtopics.tables import Tables

JUDGED = tuple(
    table
    for table in TABLES.values()
    if table in (VIDEO_CATALOG, VIDEO_TAGS, *DERIVED) and table.kind != "log"
)
"""Tables whose rows are judged; logs only grow, and of those events come from only their age is."""


def judge(
    tables: Tables,
    before: Mapping[str, int] | None,
    after: Mapping[str, int],
    *,
    as_of_us: int,
    settings: GateSettings,
    history: Mapping[str, Sequence[float]] | None = None,
) -> list[Verdict]:
    """What the gates say of a candidate release.

    Only tables whose version differs are judged; the others were when their version came. A table
    without live rows before is a first load: shares of what was there don't apply.

    Args:
        tables: the home's tables.
        before: the version of every table of the release in force; None: there is none.
        after: the candidate's versions. A table that it lacks has lost all of its keys.
        as_of_us: the run's as-of time, for the age of inputs.
        settings: the limits.
        history: the figures of earlier releases by name, oldest first; the last five are shown.

    Raises:
        TableError: a version doesn't open, or a data file is gone or damaged.
    """
    verdicts = []
    with opened(tables, before, after) as releases:
        for figure in _figures(releases, as_of_us):
            verdicts.append(grade(figure, settings, (history or {}).get(figure.name, ())))
    return verdicts


def _figures(releases: Releases, as_of_us: int) -> Iterator[Figure]:
    """Lazily, as a figure's examples are asked for while its table is still read."""
    before = {**releases.before, **releases.lost}
    for table in LOGS:
        yield from age_figures(releases, table, as_of_us)
    for table in JUDGED:
        if before.get(table.name) != releases.after.get(table.name):
            yield from table_figures(releases, table)
            releases.forget(table)


def table_figures(releases: Releases, table: Table) -> Iterator[Figure]:
    """Every figure of one table."""
    yield Figure(f"{table.name}.lost_history", float(table.name in releases.lost))
    yield from key_figures(releases, table)
    yield from null_figures(releases, table)
    yield from topic_figures(releases, table)
    yield from drift_figures(releases, table)
    yield from vector_figures(releases, table)
