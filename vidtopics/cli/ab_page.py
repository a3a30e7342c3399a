"""The page of an experiment: checks, Table III, effects by day, as one HTML file with plots."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from vidtopics.cli.ab_report import VERDICTS, headline, judgement, label, left_out, notes

STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top }
thead th { border-bottom: 1px solid #8888 }
td.n { text-align: right }
tr.stopped td, tr.warning td { font-weight: 600 }
tr.stopped td { color: light-dark(#a11515, #ff9d9d) }
figure { margin: 0 0 1.5rem } figcaption { font-size: .9rem }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif }
svg text { fill: currentColor } svg line { stroke: currentColor }
svg .axis { stroke-opacity: .35 } svg .mark { fill: light-dark(#3d48c2, #a3abff) }
svg .truth { stroke: light-dark(#a14d00, #ffb870); stroke-width: 3 }
"""
WIDTH, LEFT, RIGHT, ROW = 900, 230, 260, 26
"""Of a plot in pixels: its width, what labels and figures take at its sides, a row's height."""


def render(report: Mapping[str, Any]) -> str:
    """The page: nothing that it doesn't hold may load or run, whatever a name says."""
    title = f"Experiment {report['name']}"
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(headline(report))}</p>",
        f"<p><strong>{escape(VERDICTS[report['verdict']])}</strong></p>",
        "<h2>Checks</h2>",
        _checks(report["checks"]),
        *(f"<p>{escape(line)}</p>" for line in left_out(report)),
        *(_estimates(report) if report["comparisons"] else ()),
    ]
    return (
        f'<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width='
        f'device-width"><meta http-equiv=Content-Security-Policy content="{policy}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _checks(checks: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        f'<tr class="{check["outcome"].replace(" ", "-")}"><td>{escape(check["name"])}'
        f"<td>{check['outcome']}<td>{escape(check['detail'])}"
        for check in checks
    )
    return f"<table><thead><tr><th>check<th>outcome<th></thead>{''.join(rows)}</table>"


def _estimates(report: Mapping[str, Any]) -> Iterable[str]:
    rows = report["comparisons"]
    yield f"<h2>Against {escape(report['control'])}</h2>"
    marks = [(label(row), row, judgement(row)) for row in rows]
    truth = "; a thick stroke is the true effect" if any("truth" in row for row in rows) else ""
    yield _figure(f"Relative differences with their intervals{truth}", marks)
    yield _table(rows)
    yield from (f"<p>{escape(line)}</p>" for line in notes(report))
    yield "<h2>By day</h2><p>Each day alone, unadjusted; the interval is that of one day.</p>"
    for row in rows:
        yield _figure(f"{label(row)}{_slope_text(row['slope'])}", _days(row["by_day"]))
    if any(row["looks"] for row in rows):
        yield "<h2>Looks</h2><p>All days up to each, with intervals that hold at all looks.</p>"
        for row in rows:
            yield _figure(label(row), _days(row["looks"]))


def _days(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any], str]]:
    return [(f"day {row['day']}", row, "") for row in rows]


def _slope_text(slope: Mapping[str, Any] | None) -> str:
    if slope is None:
        return ""
    return (
        f": {slope['per_day']:+.2%} a day [{slope['low']:+.2%}, {slope['high']:+.2%}],"
        f" p = {slope['p']:.2g}"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    has_truth = any("truth" in row for row in rows)
    true = ("true",) if has_truth else ()
    heads = ("metric", "control", "arm's", "difference", *true, "without adjustment", "p", "Holm")
    body = "".join(
        f"<tr><td>{escape(label(row))}<td class=n>{row['control']:.5g}"
        f"<td class=n>{row['treatment']:.5g}<td class=n>{row['relative']:+.2%}"
        f" [{row['low']:+.2%}, {row['high']:+.2%}]"
        f"{_true_cell(row) if has_truth else ''}<td class=n>{row['unadjusted']['relative']:+.2%}"
        f" [{row['unadjusted']['low']:+.2%}, {row['unadjusted']['high']:+.2%}]"
        f"<td class=n>{row['p']:.2g}<td class=n>{row['p_adjusted']:.2g}"
        for row in rows
    )
    return f"<table><thead><tr>{''.join(f'<th>{h}' for h in heads)}</thead>{body}</table>"


def _true_cell(row: Mapping[str, Any]) -> str:
    return f"<td class=n>{row['truth']['relative']:+.2%}"


def _figure(caption: str, marks: Sequence[tuple[str, Mapping[str, Any], str]]) -> str:
    """A row for each mark: its name, its interval around its difference, the figures in words.

    >>> mark = ("day 1", {"relative": 0.01, "low": -0.01, "high": 0.03}, "")
    >>> svg = _figure("UVD", [mark])
    >>> svg.count("<circle"), "+1.00% [-1.00%, +3.00%]" in svg
    (1, True)
    """
    ends = [
        max(abs(row["low"]), abs(row["high"]), abs(_truth(row) or 0), 1e-9) for _, row, _ in marks
    ]
    # an early look is a hundred times as wide as the last: the narrowest decides
    scale = (WIDTH - LEFT - RIGHT) / 2 / min(max(ends, default=1), 5 * min(ends, default=1))
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    height = ROW * max(len(marks), 1)
    parts = [
        f'<line class="axis" x1="{middle}" x2="{middle}" y1="0" y2="{height}"/>',
        *(_mark(place, *mark, middle, scale) for place, mark in enumerate(marks)),
    ]
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(caption)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _mark(
    place: int, name: str, row: Mapping[str, Any], verdict: str, middle: float, scale: float
) -> str:
    y = place * ROW + ROW // 2
    reach = (WIDTH - LEFT - RIGHT) / 2
    x, low, high = (
        middle + max(-reach, min(reach, scale * row[end])) for end in ("relative", "low", "high")
    )
    text = f"{row['relative']:+.2%} [{row['low']:+.2%}, {row['high']:+.2%}]"
    truth, stroke = _truth(row), ""
    if truth is not None:
        at = middle + max(-reach, min(reach, scale * truth))
        stroke = f'<line class="truth" x1="{at:.1f}" x2="{at:.1f}" y1="{y - 8}" y2="{y + 8}"/>'
    return (
        f'<text x="0" y="{y + 4}">{escape(name)}</text>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>'
        f'{stroke}<circle class="mark" cx="{x:.1f}" cy="{y}" r="4"/>'
        f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4}">{text} {escape(verdict)}</text>'
    )


def _truth(row: Mapping[str, Any]) -> float | None:
    """The true relative effect, where an experiment has it."""
    return row["truth"]["relative"] if "truth" in row else None
