"""What is printed of the ceiling of a simulated home (:mod:`vidtopics.evaluate.ceiling`)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from vidtopics.cli.show import out

_GAIN = {
    "planted topics": "planted topics gain",
    "planted tastes": "planted tastes gain",
    "oracle": "the oracle gains",
}


def show(report: Mapping[str, Any]) -> None:
    """Prints what planted topics, tastes and the oracle add, and what learned topics recover."""
    if "left_out" in report:
        _say(f"What planted topics would give: left out. {report['left_out']}")
        return
    world = report["world"]
    _say(
        f"Ceiling of the simulated world (seed {world['seed']}, {world['topics']} planted topics,"
        f" eta {world['visible_taste']:g}, taste follows {world['taste_follows']}): a logistic"
        " regression on the last fifth of"
        f" {world['impressions']:,} impressions, by what it knows beside rates and the user's"
        " history; intervals of 95% over users"
    )
    heads = (Column(head, justify="right") for head in ("AUC", "gain in AUC"))
    table = Table("knows", *heads, box=None, header_style="bold")
    for place, row in enumerate(report["rows"]):
        gain = _interval(row["gain"], "+.4f") if place else ""
        table.add_row(row["knows"], _interval(row["auc"], ".4f"), gain)
    out.print(table)
    _say(share_line(report["recovered"]))


def share_line(recovered: Mapping[str, Mapping[str, float]] | None) -> str:
    """Which share of each ceiling's gain the learned topics recover.

    >>> share_line({"planted topics": {"mean": 0.45, "low": 0.361, "high": 0.5}})
    'Learned topics recover 45% (36% to 50%) of what planted topics gain.'
    >>> share_line(None)
    'Planted topics gain nothing beyond their interval: there is nothing to recover.'
    """
    if recovered is None:
        return "Planted topics gain nothing beyond their interval: there is nothing to recover."
    shares = [
        f"{_interval(share, '.0%')} of what {_GAIN[name]}" for name, share in recovered.items()
    ]
    return f"Learned topics recover {', '.join(shares)}."


def print_hint(home: Path) -> None:
    """Names, for a simulated home, the command that says what planted topics would give."""
    if any((home / "simulated").glob("*/truth")):
        command = f"vidtopics evaluate ranking --home {shlex.quote(str(home))}"
        _say(f"What planted topics, planted tastes and the oracle would give here: {command}")


def _interval(estimate: Mapping[str, float], form: str) -> str:
    low, high = (f"{estimate[end]:{form}}" for end in ("low", "high"))
    return f"{estimate['mean']:{form}} ({low} to {high})"


def _say(text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True, markup=False)
