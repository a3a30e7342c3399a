"""Which release was made and never released: what a gate rejected, or what was left a candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vidtopics.tables.releases import Release, in_force

UNRELEASED = ("candidate", "rejected")


@dataclass(frozen=True)
class Waiting:
    """The last release where it waits for a person.

    Attributes:
        release: its last row.
        since_us: when the first release after the one in force was made that waits, in
            microseconds since 1970: for so long consumers have had nothing new.
    """

    release: Release
    since_us: int


def waiting(rows: Iterable[Release]) -> Waiting | None:
    """What waits, by the log's rows since the release in force, or all; None: nothing does.

    >>> states = [(1, "released"), (2, "rejected"), (3, "candidate"), (3, "rejected")]
    >>> rows = [Release(number, state, 0, 10 * at, {}) for at, (number, state) in enumerate(states)]
    >>> last = waiting(rows)
    >>> last.release.release_id, last.release.state, last.since_us
    (3, 'rejected', 10)
    >>> waiting([*rows, Release(4, "released", 0, 50, {})]) is None
    True
    """
    ordered = sorted(rows, key=lambda row: (row.release_id, row.created_us))
    current = in_force(ordered)
    later = [row for row in ordered if current is None or row.release_id > current.release_id]
    last = {row.release_id: row for row in later}
    if not later or later[-1].state not in UNRELEASED:
        return None
    since_us = min(row.created_us for row in later if last[row.release_id].state in UNRELEASED)
    return Waiting(later[-1], since_us)
