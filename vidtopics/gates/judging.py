"""All figures of a candidate release, each held to its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from vidtopics.contracts import DERIVED, TABLES, VIDEO_CATALOG, VIDEO_TAGS, Table
from vidtopics.gates.ages import HOUR_US, LOGS, age_figures
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
CONSECUTIVE = frozenset({"appeared_share", "changed_share", "psi"})
"""Figures of consecutive runs alone: over months a catalogue grows and drifts."""


def judge(
    tables: Tables,
    before: Mapping[str, int] | None,
    after: Mapping[str, int],
    *,
    as_of_us: int,
    settings: GateSettings,
    last_as_of_us: int | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
) -> list[Verdict]:
    """What the gates say of a candidate release.

    Only tables whose version differs are judged; the others were when their version came. A table
    without live rows before is a first load: shares of what was there don't apply. Where the
    candidate is later by more than `gates.compare_within`, growth and drift are measured and not
    judged.

    Args:
        tables: the home's tables.
        before: the version of every table of the release in force; None: there is none.
        after: the candidate's versions. A table that it lacks has lost all of its keys.
        as_of_us: the run's as-of time, for the age of inputs.
        settings: the limits.
        last_as_of_us: the as-of time of the release in force; None: there is none.
        history: the figures of earlier releases by name, oldest first; the last five are shown.

    Raises:
        TableError: a version doesn't open, or a data file is gone or damaged.
    """
    verdicts = []
    apart = reason_far_apart(last_as_of_us, as_of_us, settings.compare_within)
    with opened(tables, before, after) as releases:
        for measured in _figures(releases, as_of_us):
            figure = _with_reason(measured, apart)
            verdicts.append(grade(figure, settings, (history or {}).get(figure.name, ())))
    return verdicts


def reason_far_apart(last_us: int | None, as_of_us: int, within: timedelta) -> str:
    """Why a run isn't the next one after the last release; empty where it is, or there is none.

    A backfill before the last release is judged: it changes little of what is live, and must not
    bring the rows of a rejected run along unseen.

    >>> day = 86_400_000_000
    >>> reason_far_apart(0, 1634 * day, timedelta(days=7))
    'the last release is 1,634 days older'
    >>> reason_far_apart(0, 7 * day, timedelta(days=7)), reason_far_apart(None, day, timedelta(0))
    ('', '')
    """
    if last_us is None or as_of_us - last_us <= within / timedelta(microseconds=1):
        return ""
    hours = (as_of_us - last_us) / HOUR_US
    length = f"{hours / 24:,.0f} days" if hours >= 48 else f"{hours:.3g} hours"
    return f"the last release is {length} older"


def _with_reason(figure: Figure, apart: str) -> Figure:
    """The figure with the reason why it isn't judged, if it is one of consecutive runs."""
    is_comparison = figure.name.rpartition(".")[2] in CONSECUTIVE
    if apart and is_comparison and figure.value is not None:
        return replace(figure, reason=figure.reason or apart)
    return figure


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
