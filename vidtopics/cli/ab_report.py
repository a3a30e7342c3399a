"""What `vidtopics evaluate ab` prints: one screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Column, Table

from vidtopics.cli.common import UNTRUSTED, print_json
from vidtopics.cli.show import as_text, out

ORACLE = "oracle"
"""The arm of `vidtopics simulate ab` that knows true tastes."""
VERDICTS = {
    "decided": "decided: the declared end is reached",
    "running": "running: intervals hold at every look",
    "too early": "too early: a fixed horizon has one look, at its end; no estimates until then",
    "stopped": "STOPPED: the log is not that of the declared experiment; no estimates",
}


def deliver(report: Mapping[str, Any], page: Path | None, *, as_json: bool) -> None:
    """Prints the report, and writes it to a page where one is named.

    Ends the command with 1 before the end of a fixed horizon, with 6 where a check stops it.
    """
    if page:
        from vidtopics.cli.ab_page import render
        from vidtopics.files import write_whole

        write_whole(page, render(report))
    if as_json:
        print_json(report)
    else:
        show(report)
    if code := {"stopped": UNTRUSTED, "too early": 1}.get(report["verdict"], 0):
        raise typer.Exit(code)


def show(report: Mapping[str, Any]) -> None:
    """Prints the report."""
    _say(headline(report))
    out.print(_checks(report))
    for line in left_out(report):
        _say(line)
    if report["comparisons"]:
        out.print(_comparisons(report))
        for line in notes(report):
            _say(line)
    _say(f"Verdict: {VERDICTS[report['verdict']]}")


def show_policy(report: Mapping[str, Any]) -> None:
    """Prints off-policy estimates."""
    users = f" of {report['clusters']:,} users" if report["unit"] == "users" else ""
    _say(
        f"{report['rows']:,} rows{users}, effective sample size"
        f" {report['effective_size']:,.0f}, largest weight {report['largest_weight']:.3g};"
        " intervals of 95%"
    )
    table = Table("", Column("mean reward", justify="right"), "", box=None, header_style="bold")
    for name, value in report["values"].items():
        table.add_row(name, f"{value['value']:.5g}", f"[{value['low']:.5g}, {value['high']:.5g}]")
    out.print(table)


def headline(report: Mapping[str, Any]) -> str:
    """Which experiment, of whom, how long."""
    arms = ", ".join(
        f"{name} {arm['users']:,} ({arm['active']:,} active)"
        for name, arm in report["arms"].items()
    )
    decision = report["decision"]
    return (
        f"{report['name']}: {report['start'][:16]} to {report['end'][:16]}, day"
        f" {report['observed_days']} of {report['days']}; users: {arms}; decision:"
        f" {decision['kind']}, alpha {decision['alpha']:g}"
    )


def left_out(report: Mapping[str, Any]) -> list[str]:
    """Rows of each file that were not counted, by reason.

    >>> left_out({"rows": {"outcomes": {"counted": 90, "after the experiment": 4}}})
    ['Left out of outcomes: 4 after the experiment (90 counted)']
    """
    lines = []
    for name, rows in report["rows"].items():
        reasons = [f"{count:,} {state}" for state, count in rows.items() if state != "counted"]
        if reasons:
            counted = rows.get("counted", 0)
            lines.append(f"Left out of {name}: {', '.join(reasons)} ({counted:,} counted)")
    return lines


def notes(report: Mapping[str, Any]) -> list[str]:
    """How the intervals were made, and effects that change from day to day."""
    decision, adjustment = report["decision"], report["adjustment"]
    looks = (
        "hold for one look at the end"
        if decision["kind"] == "fixed"
        else f"hold at all looks (mixture for an effect of {decision['expected_effect']:.1%})"
    )
    before = f"{adjustment['pre_days']} days before" if adjustment["pre_days"] else "no pre-period"
    strata = adjustment["strata"]
    parts = f"{strata} strata" if strata > 1 else "no strata"
    lines = [
        f"Intervals of {1 - decision['alpha']:.0%} on the scale of {adjustment['scale']}; they"
        f" {looks}. Adjusted by {before} (CUPED) and {parts}; p by Holm over"
        f" {len(report['comparisons'])} comparisons."
    ]
    for row in report["comparisons"]:
        slope = row["slope"]
        if slope and slope["p"] < decision["alpha"] / len(report["comparisons"]):
            lines.append(
                f"{label(row)}: the effect changes by {slope['per_day']:+.2%} a day"
                f" [{slope['low']:+.2%}, {slope['high']:+.2%}]: a novelty, or something learned"
            )
    if truths := [row for row in report["comparisons"] if "truth" in row]:
        covered = sum(row["low"] <= row["truth"]["relative"] <= row["high"] for row in truths)
        lines.append(
            "True effects: everybody under each arm, in the same world;"
            f" {covered} of {len(truths)} lie within their interval."
        )
    return lines + oracle_shares(report["comparisons"])


def oracle_shares(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line on how much of the oracle's true effect each arm gets, on the first metric.

    None where no other arm stands beside the oracle of a simulated world, or where its effect isn't
    above nothing.

    >>> def row(arm, effect):
    ...     truth = {"relative": effect, "low": effect - 0.01, "high": effect + 0.01}
    ...     return {"metric": "UVD", "population": "assigned", "arm": arm, "truth": truth}
    >>> oracle_shares([row("topics", 0.1), row("oracle", 0.4), row("random", -0.04)])
    ['Of the true effect on UVD per assigned user, oracle (+40.00%): topics 25%, random -10%.']
    >>> oracle_shares([row("topics", 0.1), row("oracle", 0.004)]), oracle_shares([])
    ([], [])
    """
    whole = next((row for row in rows if row["arm"] == ORACLE and "truth" in row), None)
    if whole is None or whole["truth"]["low"] <= 0:
        return []
    effect, name = whole["truth"]["relative"], label({**whole, "arm": ""})
    shares = [
        f"{row['arm']} {row['truth']['relative'] / effect:.0%}"
        for row in rows
        if row is not whole and label({**row, "arm": ""}) == name
    ]
    if not shares:
        return []
    return [f"Of the true effect on {label(whole)} ({effect:+.2%}): {', '.join(shares)}."]


def label(row: Mapping[str, Any]) -> str:
    """A comparison in words.

    >>> label({"metric": "UVD", "population": "assigned", "arm": "topics"})
    'UVD per assigned user, topics'
    """
    return f"{row['metric']} per {row['population']} user, {row['arm']}"


def judgement(row: Mapping[str, Any]) -> str:
    """Up, down, or open, by the adjusted p-value.

    >>> judgement({"is_significant": True, "relative": 0.02, "first_day_beyond": 3})
    'up, from day 3 on'
    """
    if not row["is_significant"]:
        return "open"
    since = f", from day {row['first_day_beyond']} on" if row["first_day_beyond"] else ""
    return f"{'up' if row['relative'] > 0 else 'down'}{since}"


def _checks(report: Mapping[str, Any]) -> Table:
    table = Table("check", "outcome", "", box=None, header_style="bold")
    styles = {"stopped": "bold red", "warning": "yellow"}
    for check in report["checks"]:
        style = styles.get(check["outcome"], "")
        table.add_row(check["name"], check["outcome"], as_text(check["detail"]), style=style)
    return table


def _comparisons(report: Mapping[str, Any]) -> Table:
    has_truth = any("truth" in row for row in report["comparisons"])
    true = ("true",) if has_truth else ()
    heads = ("control", "arm's", "difference", "interval", *true, "p", "Holm", "variance")
    table = Table(
        f"against {report['control']}",
        "per user",
        "arm",
        *(Column(head, justify="right") for head in heads),
        "",
        box=None,
        header_style="bold",
    )
    for row in report["comparisons"]:
        table.add_row(
            as_text(row["metric"]),
            row["population"],
            as_text(row["arm"]),
            f"{row['control']:.5g}",
            f"{row['treatment']:.5g}",
            f"{row['relative']:+.2%}",
            f"[{row['low']:+.2%}, {row['high']:+.2%}]",
            *((f"{row['truth']['relative']:+.2%}",) if has_truth else ()),
            f"{row['p']:.2g}",
            f"{row['p_adjusted']:.2g}",
            f"{-row['variance_reduction']:+.0%}",
            judgement(row),
        )
    return table


def _say(text: str) -> None:
    out.print(as_text(text), soft_wrap=True)
