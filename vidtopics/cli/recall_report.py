"""What `vidtopics evaluate recall` prints: one screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Column, Table

from vidtopics.cli.show import out


def show(report: Mapping[str, Any]) -> None:
    """Prints the report."""
    windows, number = report["windows"], report["candidates"]
    out.print(
        f"{report['requests']:,} requests of {report['users']:,} users in {len(windows)} windows"
        f" from {windows[0]['from']} to {windows[-1]['to']}; all live videos are candidates;"
        " [95% interval, over users]",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    out.print(_methods(report, number))
    out.print(_differences(report["differences"], number))
    out.print(_slices(report["slices"], number))
    for line in _lines(report):
        out.print(line, highlight=False, soft_wrap=True, markup=False)


def _methods(report: Mapping[str, Any], number: int) -> Table:
    figures = ["hit_rate_50", "ndcg_50", f"hit_rate_{number}", f"ndcg_{number}"]
    heads = [*(f.replace("_", " ") for f in figures), "coverage", "novelty", "fresh"]
    table = Table("with history", *(Column(head, justify="right") for head in heads), box=None)
    for name, row in report["methods"].items():
        cells = [f"{row[f]['mean']:.3f}" for f in figures]
        lists = [f"{row['coverage']:.0%}", f"{row['novelty']:.1f}", f"{row['fresh']:.1%}"]
        table.add_row(name, *cells, *lists)
    return table


def _differences(differences: Mapping[str, Any], number: int) -> Table:
    figures = ["hit_rate_50", f"hit_rate_{number}", f"ndcg_{number}"]
    heads = [Column(f.replace("_", " "), justify="right") for f in figures]
    table = Table("difference", *heads, box=None)
    for name, row in differences.items():
        table.add_row(name, *(_interval(row[f]) for f in figures))
    return table


def _slices(slices: Mapping[str, Any], number: int) -> Table:
    methods = [name for name in next(iter(slices.values())) if name != "requests"]
    heads = [Column(name, justify="right") for name in ("requests", *methods)]
    table = Table(f"hit rate {number}", *heads, box=None)
    for name, row in slices.items():
        table.add_row(name, f"{row['requests']:,}", *(f"{row[m]['mean']:.3f}" for m in methods))
    return table


def _interval(row: Mapping[str, float]) -> str:
    """A difference and where it may lie.

    >>> _interval({"mean": 0.0312, "low": -0.001, "high": 0.05})
    '+0.031 [-0.001, +0.050]'
    """
    return f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def _lines(report: Mapping[str, Any]) -> list[str]:
    levels = ", ".join(f"{number:.0f} {name}" for name, number in report["levels"].items())
    rules = ", ".join(f"{number:,} {name}" for name, number in report["rules"].items())
    chosen = report["chosen"]
    half_life = chosen["popular"]
    decay = f"half-life {half_life:g} of the log" if half_life < 1 else "not decayed"
    knn, als = chosen["item-kNN"], chosen["ALS"]
    return [
        f"Candidates by what gave them: {levels}; all N_3 for {report['filled']:.0%} of requests",
        f"At the last cut: {rules}",
        f"Chosen on the window before: popular {decay}, item-kNN {knn[0]} of {knn[1]} neighbours,"
        f" ALS of {als[0]} factors, alpha {als[1]:g}",
    ]
