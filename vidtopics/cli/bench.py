"""`vidtopics bench`: the benchmarks, each against its peer in the same run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from benchmarks import Figure, Scale


class Size(StrEnum):
    """How much is measured."""

    full = "full"
    smoke = "smoke"


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="online, clients, feast-read, materialize, memory, join, rounds, training, wide,"
            " age, encoding; all if none is named.",
        ),
    ] = None,
    scale: Annotated[
        Size,
        typer.Option(help="`full` is what the targets are for; `smoke` only shows that it runs."),
    ] = Size.full,
    to: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the result there too.", dir_okay=False),
    ] = None,
) -> None:
    """Measure against Feast, Polars and Spark and print what must be reached.

    Ends with 0 where a figure falls short, too.
    """
    _show(measure(names or [], scale.value, to))


def measure(names: list[str], scale: Scale, to: Path | None = None) -> dict[str, Any]:
    """Run the checkout's benchmarks; `to` has all that ended, whatever comes after.

    Raises:
        SettingsError: an unknown name, or no checkout.
    """
    import json
    import os
    import sys

    from vidtopics.cli import homes, show
    from vidtopics.errors import SettingsError, explain
    from vidtopics.files import write_whole

    root = str(homes.checkout("benchmarks"))
    if root not in sys.path:
        sys.path.insert(0, root)
    from benchmarks import MODULES, run
    from benchmarks.report import result

    unknown = [name for name in names if name not in MODULES]
    if unknown:
        raise SettingsError(
            explain(
                "bench",
                expected=", ".join(MODULES),
                found=", ".join(unknown),
                mend="correct the name",
            )
        )
    load = os.getloadavg()[0]

    def keep(figures: list[Figure]) -> None:
        if to:
            text = json.dumps(result(figures, scale, load), indent=2, ensure_ascii=False)
            write_whole(to, text + "\n")

    with show.working("Measuring") as progress:
        return result(run(names or list(MODULES), scale, progress, keep), scale, load)


def _show(report: dict[str, Any]) -> None:
    from rich.table import Column, Table

    from benchmarks.report import HEADER, cells
    from vidtopics.cli.show import out

    right = {"ours", "ratio"}
    columns = [
        Column(name, justify="right" if name in right else "left", overflow="fold")
        for name in HEADER
    ]
    table = Table(*columns, box=None, header_style="bold")
    for figure in report["figures"]:
        table.add_row(*cells(figure))
    out.print(table)
    machine = report["machine"]
    host = f"{machine['cores']} cores, {machine['memory_gb']:g} GB"
    load = f"load average {machine['load_before']:g} before"
    out.print(f"{host}, {load}; scale {report['scale']}", highlight=False)
