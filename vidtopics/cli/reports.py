"""Reports as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from vidtopics.cli.show import out

COLUMNS = ("image", "title", "joint", "joint + tag")
ORDER = (("image", "joint"), ("title", "joint"), ("joint", "joint + tag"))


def representations(report: dict[str, Any]) -> None:
    """Table I with intervals, the paper's order judged, Fig. 3, and the topics."""
    classes = report["classes"]
    out.print(
        f"Table I on {report['videos']:,} held-out videos, release {report['release']} (as of {report['as_of'][:19]}),"
        f" {report['clusterings']} clusterings, seeds {report['seed']} to {report['seed'] + report['clusterings'] - 1}; ± is the 95% interval",
        highlight=False,
    )
    found = {(r["metric"], r["level"], r["features"]): r for r in report["table1"]}
    differences = {(r["metric"], r["level"], r["from"], r["to"]): r for r in report["differences"]}
    table = Table("", *COLUMNS, "paper's order", box=None, header_style="bold")
    for metric in ("ari", "nmi"):
        for level in ("primary", "secondary"):
            cells = [_plain(found[metric, level, name]) for name in COLUMNS]
            verdict = _order([differences[metric, level, a, b] for a, b in ORDER])
            table.add_row(f"{metric.upper()} {level} (K = {classes[level]})", *cells, verdict)
    out.print(table)
    ratios = report["figure3"]["ratios"]
    means = {name: sum(values) / len(values) for name, values in ratios.items()}
    shown = " < ".join(f"{name} {means[name]:.3f}" for name in sorted(means, key=lambda n: means[n]))
    out.print(
        f"Fig. 3, distance between clusters over distance within, mean of {report['clusterings']} clusterings"
        f" at K = {report['figure3']['clusters']}: {shown}",
        highlight=False,
    )
    topics = report["topics"]
    if "topics_per_video" in topics:
        out.print(
            f"Topics: {topics['topics']:.0f} in epoch {topics['topic_epoch']:.0f}, {topics['topics_per_video']:.2f} per video on average,"
            f" {topics['below_threshold']:.0%} of videos without a centre within tau_3 = {topics['threshold']:.2f}",
            highlight=False,
        )


def _plain(estimate: dict[str, Any]) -> str:
    return f"{estimate['mean']:.3f} ± {(estimate['high'] - estimate['low']) / 2:.3f}"


def _order(steps: list[dict[str, Any]]) -> str:
    """Whether joint lies above image and title, and joint + tag above joint; a step within its interval is told."""
    broken = [f"{s['to']} not above {s['from']}" for s in steps if s["mean"] <= 0]
    unsure = [f"{s['to']} > {s['from']} within its interval" for s in steps if s["mean"] > 0 >= s["low"]]
    return "; ".join(broken or ["yes", *unsure])
