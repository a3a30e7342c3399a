"""What `vidtopics power` prints: one screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Column, Table

from vidtopics.cli.show import as_text, out


def show(report: Mapping[str, Any]) -> None:
    """Prints the plan."""
    users = "" if report["users"] is None else f", {report['users']:,} users"
    effect = "" if report["effect"] is None else f", effect {report['effect']:+.2%}"
    _say(
        f"{report['days']} days after {report['pre_days']} days before (CUPED){users}{effect};"
        f" decision {report['decision']}, power {report['power']:.0%}, alpha {report['alpha']:g}"
        f" over {report['comparisons']} comparisons (Bonferroni)"
    )
    out.print(_metrics(report))
    if report["metrics"][0]["horizons"]:
        out.print(_horizons(report))
    if report["groups"]:
        out.print(_groups(report["groups"]))


def _metrics(report: Mapping[str, Any]) -> Table:
    heads = ("between users", "within", "CUPED", "least effect", "power", "users needed")
    table = Table(
        "metric",
        "arm",
        *(Column(head, justify="right") for head in heads),
        box=None,
        header_style="bold",
    )
    for metric in report["metrics"]:
        for arm in metric["arms"]:
            table.add_row(
                as_text(metric["metric"]),
                as_text(arm["arm"]),
                f"{metric['between']:.3g}",
                f"{metric['within']:.3g}",
                f"{-metric['variance_reduction']:+.0%}",
                _number(arm["detectable_effect"], "+.2%"),
                _number(arm["power"], ".0%"),
                _number(arm["required_users"], ",.0f"),
            )
    return table


def _horizons(report: Mapping[str, Any]) -> Table:
    days = list(report["metrics"][0]["horizons"])
    heads = (Column(f"{day} days", justify="right") for day in days)
    table = Table("least effect after", *heads, box=None, header_style="bold")
    for metric in report["metrics"]:
        cells = (_number(effect, "+.2%") for effect in metric["horizons"].values())
        table.add_row(as_text(metric["metric"]), *cells)
    return table


def _groups(pairs: list[Mapping[str, Any]]) -> Table:
    heads = (Column(head, justify="right") for head in ("users", "distance", "largest difference"))
    table = Table("most alike groups", *heads, box=None, header_style="bold")
    for pair in pairs:
        users = " and ".join(f"{count:,}" for count in pair["users"])
        table.add_row(
            f"{pair['first']} and {pair['second']}",
            users,
            f"{pair['distance']:.2f}",
            f"{pair['largest']:.2%}",
        )
    return table


def _number(value: float | None, form: str) -> str:
    """A number, or nothing.

    >>> _number(0.0123, "+.2%"), _number(None, ".0%")
    ('+1.23%', '')
    """
    return "" if value is None else f"{value:{form}}"


def _say(text: str) -> None:
    out.print(as_text(text), soft_wrap=True)
