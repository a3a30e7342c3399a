"""The result of a replay, on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumers.parity import Limits, Report, ViewReport
    from consumers.parity.request_log import ReplayReport

NOTES = {
    "ahead": "newer than the watermark: read while a load was under way; fine",
    "clock_skew": "right by one clock alone, or from the future",
    "no_watermark": "no watermark from before the read: the value is right, maybe not the latest",
    "version_gone": "a version whose log or files are gone",
    "other_table": "of another Delta table, or a view or field that the contracts don't have",
}


def show(report: Report, limits: Limits) -> None:
    """Both checks per view, rates per feature, what could not be checked, examples."""
    from vidtopics.cli.show import as_text, out

    views = sorted(report.views.values(), key=lambda v: v.view)
    out.print(
        f"{report.lines:,} lines ({report.damaged:,} damaged),"
        f" {report.dropped:,} requests dropped by the client,"
        f" clocks at most {report.max_skew_us / 1e6:.3f} s apart",
        highlight=False,
    )
    out.print(_views(views))
    out.print(_features(views))
    for view in views:
        for verdict, n in sorted(view.verdicts.items()):
            if note := NOTES.get(verdict.name.lower()):
                count = f"{n:,} {verdict.name.lower().replace('_', ' ')}"
                out.print(as_text(f"  {view.view}: {count} ({note})"), soft_wrap=True)
        for example in view.examples:
            out.print(as_text(_example(view.view, example)), soft_wrap=True)
    out.print(_sums(report, limits), highlight=False, soft_wrap=True)


def show_requests(report: ReplayReport, examples: int) -> None:
    """How many requests were answered otherwise, and in what."""
    from vidtopics.cli.show import as_text, out

    for line, differences in list(report.differing.items())[:examples]:
        out.print(as_text(f"line {line}, {'; '.join(differences)}"), soft_wrap=True)
    sums = (
        f"{report.requests:,} requests answered again, {report.live:,} of them with events,"
        f" {len(report.differing):,} differ;"
        f" {report.unreadable:,} lines could not be read"
    )
    out.print(sums if report.requests else f"NOTHING CHECKED: {sums}", highlight=False)


def _sums(report: Report, limits: Limits) -> str:
    """A line for each reason not to be fine."""
    checked = (
        f"{report.mismatches:,} MISMATCHES"
        if report.mismatches
        else "fine"
        if report.checked
        else "NOTHING CHECKED"
    )
    unchecked = _held(report.unchecked_rate, limits.unchecked, "TOO MANY")
    skew = _held(report.skew, limits.skew, "TOO MANY")
    stale = _held(report.staleness, limits.stale, "TOO STALE")
    return (
        f"Check 1, served is the table's row: {checked} ({report.checked:,} rows checked)\n"
        f"  rows that could not be checked: {unchecked}\n"
        f"  rows that are right by one clock alone: {skew}\n"
        f"Check 2, served is what a join gives: {stale}"
    )


def _held(rate: float, most: float, else_: str) -> str:
    return f"{'fine' if rate <= most else else_} (at most {rate:.2%} of a view, {most:.2%} allowed)"


def _views(views: list[ViewReport]) -> Any:
    from rich.table import Table

    from vidtopics.cli.show import as_text

    table = Table(
        "view",
        "requests",
        "rows",
        "mismatches",
        "unchecked",
        "stale",
        "rate",
        "behind, mean",
        "behind, most",
        box=None,
        header_style="bold",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for v in views:
        counts = (f"{n:,}" for n in (v.requests, v.rows, v.mismatches, v.unchecked, v.stale))
        mean, most = v.behind_us / max(v.stale, 1) / 1e6, v.behind_max_us / 1e6
        table.add_row(
            as_text(v.view),
            *counts,
            f"{v.staleness:.2%}",
            *((f"{mean:.1f} s", f"{most:.1f} s") if v.stale else ("", "")),
        )
    return table


def _features(views: list[ViewReport]) -> Any:
    from rich.table import Table

    from vidtopics.cli.show import as_text

    table = Table("feature", "served", "wrong", "stale", "rate", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for v in views:
        for name, c in v.features.items():
            table.add_row(
                as_text(name),
                f"{c.served:,}",
                f"{c.wrong:,}",
                f"{c.stale:,}",
                f"{c.stale / max(c.served, 1):.2%}",
            )
    return table


def _example(view: str, example: dict[str, Any]) -> str:
    """Two lines: who was served what, and what was expected."""
    entity = next(v for k, v in example.items() if k.endswith("_id"))
    served, expected = (
        json.dumps(example[side], ensure_ascii=False) for side in ("served", "expected")
    )
    request = f"request {example['request']} at {example['server_time']}"
    head = f"  {example['kind'].replace('_', ' ')}: {view} of {entity}, {request}"
    return f"{head}, version {example['version']}\n    served   {served}\n    expected {expected}"
