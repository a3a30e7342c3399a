"""How verbs show progress and results on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtopics.faults import visible

if TYPE_CHECKING:
    import psutil

    from vidtopics.ingest import FileReport, Ingested
    from vidtopics.jobs.pipeline import Step
    from vidtopics.materialization import Moved

IGNORED_INPUT = {
    "missing_cover",
    "unreadable_cover",
    "truncated_cover",
    "bomb_cover",
    "long_tag",
    "control_character",
    "unknown_column",
}
"""Warnings of something that the file gives and no table gets: shown with examples."""
Progress = Callable[[str], None]
console = Console(stderr=True)
out = Console(width=None if Console().is_terminal else 120)


def as_text(value: object) -> Text:
    r"""What came from outside, or may have: no markup, control characters as escapes.

    >>> as_text("[red]title\x1b[2J").plain == "[red]title" + r"\x1b[2J"
    True
    """
    return Text("\n".join(visible(line) for line in str(value).split("\n")))


@contextmanager
def working(title: str) -> Iterator[Progress]:
    """A spinner with `title` and the latest step while the block runs.

    Where there is no terminal, a plain line.
    """
    if not console.is_terminal:
        console.print(as_text(title))
        yield lambda text: None
        return
    with console.status(as_text(title)) as status:
        yield lambda text: status.update(as_text(f"{title}: {text}"))


def ingested(result: Ingested) -> None:
    """What is new in a delivery, what was known already, what was refused and why."""
    numbers = ("rows", "new", "already there", "left out", "refused")
    table = Table("file", *numbers, "warnings", box=None, header_style="bold")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for file in result.files:
        warned = "\n".join(f"{reason} {tally.count:,}" for reason, tally in file.warnings.items())
        counts = (file.rows, file.accepted, file.already_there, file.left_out, file.refused_rows)
        table.add_row(as_text(file.name), *(f"{count:,}" for count in counts), as_text(warned))
    out.print(table)
    rows = {p.table: p.rows for p in result.publications}
    table = Table("table", "new rows", "already there", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, known in result.already_there.items():
        table.add_row(name, f"{rows[name]:,}", f"{known:,}")
    out.print(table)
    for file in result.files:
        for reason, tally in file.refused.items():
            out.print(as_text(f"  {file.name}: {reason} {tally.count:,}, as {tally.examples[0]}"))
    for file in result.files:
        for line in file_notes(file):
            out.print(as_text(f"  {line}"))
    if result.erased:
        out.print(f"  {result.erased:,} rows of people who were erased since, left out")


def file_notes(file: FileReport) -> list[str]:
    """How a file is written if it isn't plain CSV, and examples of what was ignored in it."""
    notes = [f"{file.name}: read with {file.dialect}"] if file.dialect else []
    for reason, tally in file.warnings.items():
        if reason in IGNORED_INPUT:
            notes.append(f"{file.name}: {reason} {tally.count:,}, the first are")
            notes += [f"  {example}" for example in tally.examples]
    return notes


def steps(done: Sequence[Step], release: Callable[[int], object]) -> None:
    """Seconds and rows of each job at each as-of date."""
    from vidtopics.jobs.pipeline import describe

    dates = sorted({s.as_of_us for s in done})
    days = [describe(d)[:10] for d in dates]  # the time only where a day occurs twice
    names = days if len(set(days)) == len(days) else [describe(d) for d in dates]
    table = Table("job", *names, "seconds", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in dict.fromkeys(s.publication.table for s in done):
        step_at = {s.as_of_us: s for s in done if s.publication.table == name}
        cells = ["" if d not in step_at else _rows(step_at[d]) for d in dates]
        table.add_row(as_text(name), *cells, f"{sum(s.seconds for s in step_at.values()):.1f}")
    table.add_row("release", *(str(release(d) or "none: nothing changed") for d in dates), "")
    out.print(table)


def moved(done: Sequence[Moved]) -> None:
    """What a materialisation did to each view and structure."""
    table = Table(
        "view",
        "release",
        "rows read",
        "written",
        "older",
        "not due",
        "seconds",
        box=None,
        header_style="bold",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for m in done:
        states = {"left behind": m.error, "up to date": m.up_to_date, "taken out": m.taken_out}
        state = next((state for state, holds in states.items() if holds), "")
        counts = (
            [state, "", "", ""]
            if state
            else [f"{n:,}" for n in (m.read, m.written, m.older, m.not_due)]
        )
        table.add_row(as_text(m.name), str(m.release), *counts, f"{m.seconds:.2f}")
    out.print(table)


def _rows(step: Step) -> str:
    return "up to date" if step.publication.skipped else f"{step.publication.rows:,} rows"


def memory() -> float:
    """Memory, in GB, of this process and its children (Spark's JVM, workers)."""
    import psutil

    me = psutil.Process(os.getpid())
    return sum(_memory(process) for process in [me, *me.children(recursive=True)]) / 1e9


def _memory(process: psutil.Process) -> int:
    """Bytes: the proportional set size where the system has it, else the resident size.

    Forked workers share pages.
    """
    try:
        with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return _resident(process)


def _resident(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Seconds since the block began."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began
