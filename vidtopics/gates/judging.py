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
CHANGED = frozenset({"changed_share"})
"""Figures of runs with one topic model version."""


def judge(
    tables: Tables,
    before: Mapping[str, int] | None,
    after: Mapping[str, int],
    *,
    as_of_us: int,
    settings: GateSettings,
    last_as_of_us: int | None = None,
    models: tuple[int, int] = (0, 0),
    history: Mapping[str, Sequence[float]] | None = None,
) -> list[Verdict]:
    """What the gates say of a candidate release.

    Only tables whose version differs are judged; the others were when their version came. A table
    without live rows before is a first load: shares of what was there don't apply. Where the
    candidate is later by more than `gates.compare_within`, growth and drift are measured and not
    judged; with another topic model version, nor is what changed.

    Args:
        tables: the home's tables.
        before: the version of every table of the release in force; None: there is none.
        after: the candidate's versions. A table that it lacks has lost all of its keys.
        as_of_us: the run's as-of time, for the age of inputs.
        settings: the limits.
        last_as_of_us: the as-of time of the release in force; None: there is none.
        models: topic model versions of the release in force and of the candidate.
        history: the figures of earlier releases by name, oldest first; the last five are shown.

    Raises:
        TableError: a version doesn't open, or a data file is gone or damaged.
    """
    verdicts = []
    apart = reason_far_apart(last_as_of_us, as_of_us, settings.compare_within)
    retrained = reason_retrained(*models)
    with opened(tables, before, after) as releases:
        for measured in _figures(releases, as_of_us):
            figure = _with_reason(_with_reason(measured, CONSECUTIVE, apart), CHANGED, retrained)
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


def reason_retrained(last: int, now: int) -> str:
    """Why what changed isn't judged: another topic model gives nearly every row another value.

    >>> reason_retrained(1, 2), reason_retrained(2, 2), reason_retrained(0, 1)
    ('topic model version 2, the last release is of version 1', '', '')
    """
    if not last or last == now:
        return ""
    return f"topic model version {now}, the last release is of version {last}"


def _with_reason(figure: Figure, names: frozenset[str], reason: str) -> Figure:
    """The figure with the reason why it isn't judged, if it is one of those names."""
    if reason and figure.name.rpartition(".")[2] in names and figure.value is not None:
        return replace(figure, reason=figure.reason or reason)
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
