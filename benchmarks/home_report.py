"""The command line of a benchmark of one home, whose figures have targets in milliseconds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def report_home(
    doc: str | None,
    measure: Callable[[Path, int], dict[str, Any]],
    show: Callable[[dict[str, Any]], Sequence[str]],
    *,
    users: int,
) -> None:
    """Measure the home of `--home` with `--users`, print the lines, and write them to `--json`.

    Args:
        doc: of the benchmark, for `--help`.
        measure: gives the report of a home and a number of users.
        show: its lines.
        users: as many without `--users`.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--users", type=int, default=users)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = measure(options.home, options.users)
    sys.stdout.write("\n".join(show(report)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def verdict_line(row: Mapping[str, Any]) -> str:
    """A figure beside its target.

    >>> verdict_line({"name": "recall, p50", "ms": 2.5, "target": "≤ 3 ms", "met": True})
    '  recall, p50: 2.50 ms (≤ 3 ms), met'
    """
    verdict = "met" if row["met"] else "missed"
    return f"  {row['name']}: {row['ms']:.2f} ms ({row['target']}), {verdict}"
