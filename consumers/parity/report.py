"""What a replay found: counts and rates per view and feature, and examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumers.parity.checks import Checker, Findings, Verdict
from consumers.parity.log import Log
from vidtopics.contracts import Table
from vidtopics.layout import Field, Schema
from vidtopics.layout.schema import NUMBERS
from vidtopics.online import Status
from vidtopics.online.served import plain
from vidtopics.times import moment

STALE = "stale"


@dataclass
class FeatureCounts:
    """Of one feature: values served, wrong ones (check 1) and stale ones (check 2)."""

    served: int = 0
    wrong: int = 0
    stale: int = 0


@dataclass
class ViewReport:
    """Of one view: rows by verdict, rows that check 2 judged and found stale, and by how much.

    `behind_us` sums how long the right value had been known.
    """

    view: str
    requests: int = 0
    rows: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    joined: int = 0
    stale: int = 0
    behind_us: int = 0
    behind_max_us: int = 0
    features: dict[str, FeatureCounts] = field(default_factory=lambda: defaultdict(FeatureCounts))
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def mismatches(self) -> int:
        """Rows that break parity; must be zero."""
        return sum(n for verdict, n in self.verdicts.items() if verdict.mismatch)

    @property
    def unchecked(self) -> int:
        """Rows that check 1 could not judge, or only in part."""
        return sum(n for verdict, n in self.verdicts.items() if verdict.unchecked)

    @property
    def unchecked_rate(self) -> float:
        """Those over all rows."""
        return self.unchecked / max(self.rows, 1)

    @property
    def skew(self) -> float:
        """Rows that are right by one clock alone, or from the future, over all rows."""
        return self.verdicts[Verdict.CLOCK_SKEW] / max(self.rows, 1)

    @property
    def staleness(self) -> float:
        """Stale rows over those that check 2 judged."""
        return self.stale / max(self.joined, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "view": self.view,
            "requests": self.requests,
            "rows": self.rows,
            "mismatches": self.mismatches,
            "verdicts": {v.name.lower(): self.verdicts[v] for v in Verdict if self.verdicts[v]},
            "unchecked": self.unchecked,
            "unchecked_rate": self.unchecked_rate,
            "skew": self.skew,
            "joined": self.joined,
            "stale": self.stale,
            "staleness": self.staleness,
            "behind_mean_s": self.behind_us / max(self.stale, 1) / 1e6,
            "behind_max_s": self.behind_max_us / 1e6,
            "features": {
                name: {
                    "served": c.served,
                    "wrong": c.wrong,
                    "stale": c.stale,
                    "wrong_rate": c.wrong / max(c.served, 1),
                    "stale_rate": c.stale / max(c.served, 1),
                }
                for name, c in self.features.items()
            },
            "examples": self.examples,
        }


@dataclass(frozen=True)
class Limits:
    """Greatest rates of a view that are fine; above one of them a replay is not.

    Attributes:
        stale: of the rows that check 2 judged; the price of loading in steps.
        unchecked: of all rows. A process has no floor in its first quarter of a second, 5% of one
            that lives for five seconds.
        skew: of all rows. Clocks that are kept by NTP give none: a tenth of a second at the edge of
            a TTL is within the tolerance.
    """

    stale: float
    unchecked: float
    skew: float


@dataclass
class Report:
    """Of a whole log."""

    views: dict[str, ViewReport]
    lines: int = 0
    damaged: int = 0
    dropped: int = 0
    max_skew_us: int = 0

    @property
    def mismatches(self) -> int:
        """Rows that break parity; must be zero."""
        return sum(v.mismatches for v in self.views.values())

    @property
    def checked(self) -> int:
        """Rows that check 1 judged in full."""
        return sum(v.rows - v.unchecked for v in self.views.values())

    @property
    def staleness(self) -> float:
        """The highest of the views' rates."""
        return max((v.staleness for v in self.views.values()), default=0.0)

    @property
    def unchecked_rate(self) -> float:
        """The highest of the views' rates."""
        return max((v.unchecked_rate for v in self.views.values()), default=0.0)

    @property
    def skew(self) -> float:
        """The highest of the views' rates."""
        return max((v.skew for v in self.views.values()), default=0.0)

    def is_fine(self, limits: Limits) -> bool:
        """Whether there is no mismatch, no rate above its limit, and a row that was checked."""
        rates = (
            (self.staleness, limits.stale),
            (self.unchecked_rate, limits.unchecked),
            (self.skew, limits.skew),
        )
        return (
            not self.mismatches and self.checked > 0 and all(rate <= most for rate, most in rates)
        )

    def counted(self, log: Log) -> None:
        """Take over what reading the log counted."""
        self.lines, self.damaged, self.dropped = log.lines, log.damaged, log.dropped

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        views = [v.to_dict() for v in sorted(self.views.values(), key=lambda v: v.view)]
        return {
            "lines": self.lines,
            "damaged": self.damaged,
            "dropped": self.dropped,
            "checked": self.checked,
            "unchecked_rate": self.unchecked_rate,
            "mismatches": self.mismatches,
            "skew": self.skew,
            "max_skew_s": self.max_skew_us / 1e6,
            "staleness": self.staleness,
            "views": views,
        }


def add(report: ViewReport, table: Table, checker: Checker, findings: Findings, limit: int) -> None:
    """Count a chunk, and show up to `limit` examples of each kind."""
    chunk, verdict = checker.chunk, findings.verdict
    report.requests += len(chunk.lines)
    report.rows += len(verdict)
    report.verdicts.update({Verdict(v): int(n) for v, n in enumerate(np.bincount(verdict)) if n})
    report.joined += int(np.isin(verdict, [v for v in Verdict if _joins(v)]).sum())
    report.stale += int(findings.stale.sum())
    report.behind_us += int(findings.behind_us.sum())
    report.behind_max_us = max(report.behind_max_us, int(findings.behind_us.max(initial=0)))
    wrong = verdict == Verdict.WRONG_VALUE
    for name in chunk.names:
        counts = report.features[name]
        counts.served += int((chunk.present >= 0).sum())
        counts.wrong += int((wrong & checker.feature_differs(name, findings.should)).sum())
        counts.stale += int((findings.stale & checker.feature_differs(name, findings.joined)).sum())
    for kind in [v for v in Verdict if v.mismatch or v == Verdict.CLOCK_SKEW]:
        _show(report, table, checker, kind.name.lower(), verdict == kind, findings.should, limit)
    _show(report, table, checker, STALE, findings.stale, findings.joined, limit)


def _joins(verdict: Verdict) -> bool:
    return verdict < Verdict.UNREADABLE and verdict not in (Verdict.OTHER_TABLE, Verdict.CLOCK_SKEW)


def _show(
    report: ViewReport,
    table: Table,
    checker: Checker,
    kind: str,
    rows: NDArray[np.bool_],
    right: NDArray[np.int64],
    limit: int,
) -> None:
    shown = sum(example["kind"] == kind for example in report.examples)
    for i in np.flatnonzero(rows)[: limit - shown].tolist():
        report.examples.append({"kind": kind} | _example(table, checker, i, int(right[i])))


def _example(table: Table, checker: Checker, i: int, row: int) -> dict[str, Any]:
    """Who was served what, when, and what the table says."""
    chunk, history = checker.chunk, checker.history
    line, place = chunk.lines[int(chunk.line[i])], int(chunk.present[i])
    served: dict[str, Any] = {"status": Status(int(chunk.status[i])).name.lower()}
    if chunk.event_us[i]:
        served |= _times(int(chunk.event_us[i]), int(chunk.created_us[i]))
    expected: dict[str, Any] = (
        {} if row < 0 else _times(int(history.event_us[row]), int(history.created_us[row]))
    )
    for f in (f for f in Schema.of(table).fields if f.name in chunk.names):
        values, nulls = chunk.column(f.name)
        if place >= 0:
            served[f.name] = _value(f, values[place], bool(nulls[place]))
        if row >= 0:
            expected[f.name] = _value(
                f, history.columns[f.name][row], bool(history.null[f.name][row])
            )
    return {
        table.key[0]: chunk.ids[i],
        "request": line.request,
        "server_time": moment(int(chunk.server_us[i])),
        "release": line.floor.release if line.floor else None,
        "version": line.floor.version if line.floor else None,
        "served": served,
        "expected": expected,
    }


def _times(event_us: int, created_us: int) -> dict[str, str]:
    return {"event_timestamp": moment(event_us), "created_timestamp": moment(created_us)}


def _value(field_: Field, raw: NDArray[np.uint8], null: bool) -> Any:
    """Canonical bytes as a value; those of a hash as text."""
    if null:
        return None
    if not plain(field_):
        return f"blake2b {raw.tobytes().hex()}"
    numbers = np.frombuffer(raw.tobytes(), NUMBERS[field_.type]).tolist()
    return numbers if field_.kind == "slots" else numbers[0]
