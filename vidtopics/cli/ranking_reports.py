"""What `evaluate ranking`, `daily` and `cost` print, and the figure of gains."""

from __future__ import annotations

from html import escape
from typing import Any

from rich.table import Table

from vidtopics.cli.show import out

VARIANTS = ("none", "cover", "topics", "topics + cover")
SPLITS = {
    "as known": "The last fifth of the time, with what was known then",
    "all tags": "Each user's last fifth, with the last release's topics as static content",
    "as served": "The last fifth of the time, with what a live release had then",
}
NAMES = {
    "lr": "LR",
    "emlp": "EMLP",
    "wide_and_deep": "Wide&Deep",
    "dcn": "DCN v2",
    "din": "DIN",
    "lightgbm": "LightGBM",
}
WIDTH, ROW, LEFT = 640, 22, 210
"""Of the figure, in pixels: its width, the height of a row, where the bars begin."""


def table_2(report: dict[str, Any]) -> None:
    """Table II by split, what stands beside it, and how much was searched."""
    seeds = report["seeds"]
    scope = "quick: two models, no search, two seeds, by time alone" if report["quick"] else "full"
    searched = (
        f"{report['trials']} trials of each model and variant on the validation rows"
        if report["trials"] > 1
        else "settings as they are"
    )
    _say(
        f"Table II ({scope}) on {_release(report)}: {report['rows']:,} impressions,"
        f" {report['clicked'] / max(report['rows'], 1):.0%} clicked; {len(seeds)} seeds from"
        f" {seeds[0]}, {searched}; intervals are the middle 95% of {report['draws']} draws of users"
        " and seeds"
    )
    for split in report["splits"]:
        _say(f"{SPLITS[split['topics']]}: {split['train']:,} rows to learn, {split['test']:,} test")
        out.print(_table(split["table"]))
    for reason in report["left_out"]:
        _say(f"Left out: {reason}")
    by_time = report["splits"][0]
    out.print(_slices(by_time["slices"]))
    if by_time["ablation"]:
        out.print(_ablation(by_time["ablation"]))
    for row in by_time["permuted"]:
        _say(
            f"Permuted topics, {NAMES[row['model']]}, permutation {row['permutation']}:"
            f" AUC {_interval(row['gain']['auc'], '+.4f')} {_verdict(row['gain']['auc'])}"
        )


def figure_5(report: dict[str, Any]) -> None:
    """AUC of each day, or of each part of a log of years."""
    unit, days = report["unit"], report["days"]
    parts = "" if unit == "day" else ", equal parts of the log's last fifth"
    _say(
        f"Fig. 5, {NAMES[report['model']]}, {_release(report)}: AUC of each {unit}{parts} by models"
        f" of all rows before it, {len(report['seeds'])} seeds"
    )
    columns = ("none", "cover", "topics")
    gains = ("cover's gain", "topics' gain")
    table = Table(unit, "from", "rows", *columns, *gains, box=None, header_style="bold")
    for day in days:
        table.add_row(
            str(day["day"]),
            day["begins"][:16],
            f"{day['rows']:,}",
            *(f"{day['auc'][name]['mean']:.4f}" for name in columns),
            *(_interval(day["gain"][name], "+.4f") for name in columns[1:]),
        )
    out.print(table)
    for name in columns[1:]:
        means = [day["gain"][name]["mean"] for day in days]
        above = sum(day["gain"][name]["low"] > 0 for day in days)
        below = sum(day["gain"][name]["high"] < 0 for day in days)
        _say(
            f"{name}: mean gain {sum(means) / len(means):+.4f}, above zero on"
            f" {sum(mean > 0 for mean in means)} of {len(days)} {unit}s; beyond the interval above"
            f" on {above}, below on {below}"
        )


def figure_6(report: dict[str, Any]) -> None:
    """What each variant costs beside the baseline, and topics beside cover features."""
    _say(
        f"Fig. 6, {NAMES[report['model']]}, {_release(report)}, {report['rows']:,} training rows,"
        f" in turns in one run, {report['rounds']} rounds"
    )
    table = Table(
        "features",
        "epoch, CPU s",
        "extra (least to greatest)",
        "bytes a training row",
        "parameters",
        "bytes a served video",
        "scoring 600, ms p50 / p99",
        box=None,
        header_style="bold",
    )
    for row in report["variants"]:
        extra = row["extra_time"]
        table.add_row(
            row["variant"],
            f"{row['seconds']:.2f}",
            f"{extra['median']:+.0%} ({extra['low']:+.0%} to {extra['high']:+.0%})",
            f"{row['row_bytes']:,}",
            f"{row['parameters']:,}",
            f"{row['serving_bytes']:,}",
            f"{row['latency_p50_ms']:.1f} / {row['latency_p99_ms']:.1f}",
        )
    out.print(table)
    of = {row["variant"]: row for row in report["variants"]}
    shares = [
        f"{of['topics'][name] / of['cover'][name]:.0%} of its {what}"
        for name, what in (("row_bytes", "bytes a row"), ("serving_bytes", "bytes a served video"))
        if of["cover"][name]
    ]
    _say(f"Topics beside cover features: {' and '.join(shares) or 'no covers here'}")


def gains_figure(report: dict[str, Any]) -> str:
    """The gains in AUC over each model without topics as SVG: a bar with its interval a row.

    >>> row = {"model": "lr", "variant": "topics", "gain": {"auc": {"mean": 0.004, "low": 0.002,
    ...        "high": 0.006}}}
    >>> svg = gains_figure({"splits": [{"topics": "as known", "table": [row]}]})
    >>> svg.count("<rect"), "LR, topics" in svg, "+0.0040" in svg
    (1, True, True)
    """
    rows = [(split["topics"], row) for split in report["splits"] for row in split["table"]]
    rows = [(split, row) for split, row in rows if row["gain"]]
    ends = [abs(row["gain"]["auc"][end]) for _, row in rows for end in ("low", "high")]
    scale = (WIDTH - LEFT - 120) / 2 / max([*ends, 1e-4])
    middle = LEFT + (WIDTH - LEFT - 120) / 2
    parts = [
        _bar(place, f"{NAMES[row['model']]}, {row['variant']} ({split})", row, middle, scale)
        for place, (split, row) in enumerate(rows)
    ]
    height = ROW * (len(rows) + 1)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' aria-label="Gain in AUC over the same model without topics" font-family="sans-serif"'
        ' font-size="11">'
    )
    axis = f'<line x1="{middle}" x2="{middle}" y1="0" y2="{height - ROW}" stroke="#888"/>'
    return "\n".join([head, axis, *parts, "</svg>\n"])


def _bar(place: int, name: str, row: dict[str, Any], middle: float, scale: float) -> str:
    gain, y = row["gain"]["auc"], place * ROW
    x, low, high = (middle + scale * gain[end] for end in ("mean", "low", "high"))
    return (
        f'<text x="0" y="{y + 14}">{escape(name)}</text>'
        f'<rect x="{min(x, middle):.1f}" y="{y + 4}" width="{abs(x - middle):.1f}" height="13"'
        f' fill="{"#3a7" if gain["mean"] > 0 else "#c55"}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 10}" y2="{y + 10}" stroke="#222"/>'
        f'<text x="{WIDTH - 110}" y="{y + 14}">{gain["mean"]:+.4f}</text>'
    )


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "model",
        "reads",
        "AUC",
        "gain in AUC",
        "per-user AUC",
        "gain",
        "log loss",
        "NDCG@10",
        "calibration",
        box=None,
        header_style="bold",
    )
    for row in rows:
        gain = row["gain"]
        table.add_row(
            NAMES[row["model"]] if row["variant"] == VARIANTS[0] else "",
            row["variant"],
            f"{row['auc']['mean']:.4f}",
            _interval(gain["auc"], "+.4f") if gain else "",
            f"{row['user_auc']['mean']:.4f}",
            _interval(gain["user_auc"], "+.4f") if gain else "",
            f"{row['log_loss']['mean']:.4f}",
            f"{row['ndcg']['mean']:.4f}",
            f"{row['calibration']['ratio']:.2f}, off by {row['calibration']['error']:.3f}",
        )
    return table


def _slices(slices: dict[str, Any]) -> Table:
    title = f"slices of {NAMES[slices['model']]}"
    table = Table(title, "rows", "none", "topics", "gain in AUC", box=None, header_style="bold")
    for row in slices["rows"]:
        if row["none"] is None:
            table.add_row(row["slice"], f"{row['rows']:,}", "too few to compare")
            continue
        figures = (f"{row[name]['mean']:.4f}" for name in ("none", "topics"))
        gain = _interval(row["gain"], "+.4f")
        table.add_row(row["slice"], f"{row['rows']:,}", *figures, gain)
    return table


def _ablation(rows: list[dict[str, Any]]) -> Table:
    columns = ("AUC", "over none", "against all")
    table = Table("pieces of topics", *columns, box=None, header_style="bold")
    for row in rows:
        differences = (_interval(row[name], "+.4f") for name in ("gain", "lost"))
        model, _, what = row["row"].partition(", ")
        table.add_row(f"{NAMES[model]}, {what}", f"{row['auc']['mean']:.4f}", *differences)
    return table


def _interval(estimate: dict[str, float], form: str) -> str:
    """The mean and the ends of the interval.

    >>> _interval({"mean": 0.0051, "low": 0.0012, "high": 0.0093}, "+.4f")
    '+0.0051 (+0.0012 to +0.0093)'
    """
    low, high = (f"{estimate[end]:{form}}" for end in ("low", "high"))
    return f"{estimate['mean']:{form}} ({low} to {high})"


def _verdict(estimate: dict[str, float]) -> str:
    """What a control's gain means.

    >>> _verdict({"low": -0.01, "high": 0.01}), _verdict({"low": -0.02, "high": -0.01})
    ('(nothing, within the interval)', '(noise that costs)')
    >>> _verdict({"low": 0.01, "high": 0.02})
    '(A LEAK: topics of other videos gain)'
    """
    if estimate["low"] > 0:
        return "(A LEAK: topics of other videos gain)"
    return "(nothing, within the interval)" if estimate["high"] >= 0 else "(noise that costs)"


def _release(report: dict[str, Any]) -> str:
    return f"release {report['release']} (as of {report['as_of'][:19]})"


def _say(text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True, markup=False)
