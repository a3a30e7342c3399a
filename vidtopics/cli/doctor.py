"""`vidtopics doctor`: is everything there?"""

from __future__ import annotations

from dataclasses import asdict

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, Home, print_json
from vidtopics.doctor import DEMO_WEIGHTS, Finding, examine

COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


def doctor(home: Home = DEFAULT_HOME, config: Config = None, as_json: AsJson = False) -> None:
    """Checks Java, jars, packages, GPU and disk, and says how to mend what is missing.

    Ends with 0 if nothing is missing, else with 1.
    """
    findings = examine(home, weights=_weights(config))
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        _show(findings)
    if any(f.state == "missing" for f in findings):
        raise typer.Exit(1)


def _weights(config: Config) -> tuple[str, ...]:
    if config is None:
        return DEMO_WEIGHTS
    from vidtopics.settings import load

    content = load(config).content
    return (content.image_encoder.weights, content.title_encoder.weights)


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(
        "check",
        "state",
        Column("found", overflow="fold"),
        Column("mend", overflow="fold"),
        box=None,
    )
    for f in findings:
        table.add_row(f.name, Text(f.state, COLOURS[f.state]), Text(f.found), Text(f.mend))
    Console().print(table)
