"""`vidtopics doctor`: is everything there?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidtopics.cli.common import DEFAULT_HOME, AsJson, Config, NewHome, print_json

if TYPE_CHECKING:
    from vidtopics.doctor.findings import Finding

COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


def doctor(
    role: Annotated[
        Literal["online", "jobs", "training"],
        typer.Option(
            help="What the host does: read and load Redis, run the jobs (and all else), or join and"
            " train."
        ),
    ] = "jobs",
    home: NewHome = DEFAULT_HOME,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Checks what a host of a role needs: Java, packages, GPU, disk, Redis; says how to mend it.

    Ends with 0 if nothing is missing, else with 1.
    """
    from vidtopics.cli import homes
    from vidtopics.doctor import examine

    prefix = homes.prefix(home, config)
    findings = examine(home, role=role, prefix=prefix, weights=_weights(config))
    if as_json:
        print_json([asdict(f) for f in findings])
    else:
        _show(findings)
    if any(f.state == "missing" for f in findings):
        raise typer.Exit(1)


def _weights(config: Config) -> tuple[str, ...]:
    from vidtopics.doctor import DEMO_WEIGHTS
    from vidtopics.settings import load

    if config is None:
        return DEMO_WEIGHTS

    content = load(config).content
    return (content.image_encoder.weights, content.title_encoder.weights)


def _show(findings: list[Finding]) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    from vidtopics.cli.show import as_text, out

    table = Table(
        "check",
        "state",
        Column("found", overflow="fold"),
        Column("mend", overflow="fold"),
        box=None,
    )
    for f in findings:
        table.add_row(f.name, Text(f.state, COLOURS[f.state]), as_text(f.found), as_text(f.mend))
    out.print(table)
