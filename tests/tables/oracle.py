"""Which value holds at t, known by k: the rule of docs/time.md in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Oracle:
    """All runs, each naming every entity's value as of one time and known from another."""

    runs: list[tuple[int, int, Mapping[str, object]]] = field(default_factory=list)

    def run(self, event: int, created: int, values: Mapping[str, object]) -> None:
        """A second run at the same event time is known 1 us after the first at the earliest."""
        same = [c for e, c, _ in self.runs if e == event]
        self.runs.append((event, max([created, *(c + 1 for c in same)]), dict(values)))

    def holds(self, entity: str, t: int, k: int) -> object | None:
        """The latest (event, created) with `event <= t` and `created <= k` decides.

        An entity that it doesn't name has ended.
        """
        known = [(e, c, values) for e, c, values in self.runs if e <= t and c <= k]
        return max(known, key=lambda run: run[:2])[2].get(entity) if known else None


def stored(rows: list[tuple[str, int, int, object]], entity: str, t: int, k: int) -> object | None:
    """The same of a table's rows (entity, event, created, value; None for a tombstone)."""
    known = [(e, c, value) for name, e, c, value in rows if name == entity and e <= t and c <= k]
    return max(known, key=lambda row: row[:2])[2] if known else None
