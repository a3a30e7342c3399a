"""What staging reports: what is new in each file, known already, refused and warned of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vidtopics.errors import InputError, explain

EXAMPLES = 10


@dataclass(frozen=True)
class Tally:
    """How often a reason occurred, and its first cases as `row N: detail` (at most 10)."""

    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class FileReport:
    """One delivered file. Each of its `rows` counts once: as accepted, or as one of the next three.

    Attributes:
        accepted: rows that bring something new.
        already_there: rows that say what the tables hold already.
        left_out: repetitions within the file, and rows without a tag.
        refused_rows: rows that are refused.
        refused: tallies of refused rows by reason.
        warnings: tallies of what was found in rows that are not refused.
        dialect: how a CSV file is written; empty for commas, UTF-8 and LF, and for Parquet.
    """

    name: str
    file_hash: str
    rows: int
    accepted: int
    already_there: int
    left_out: int
    refused_rows: int
    refused: Mapping[str, Tally]
    warnings: Mapping[str, Tally]
    dialect: str = ""

    @property
    def rejected_share(self) -> float:
        """Refused rows over rows read; 0 for an empty file."""
        return self.refused_rows / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Delivery:
    """Staged rows: one Parquet file per table name (`<table>` and `<table>_rejected`).

    Attributes:
        files: a report per file.
        already_there: by input table, how many delivered values or events it holds already.
        content: digest of the files' hashes.
    """

    staged: Mapping[str, Path]
    files: Sequence[FileReport]
    already_there: Mapping[str, int]
    content: str
    delivered_at: datetime


def refuse_excess(files: Sequence[FileReport], max_share: float) -> None:
    """InputError with reasons and rows if more than `max_share` of a file's rows are refused.

    >>> tally = Tally(1, ("row 2: published_at ...",))
    >>> file = FileReport("a.csv", "", 4, 3, 0, 0, 1, {"bad_time": tally}, {})
    >>> refuse_excess([file], 0.25)
    >>> refuse_excess([file], 0.2)
    Traceback (most recent call last):
    ...
    vidtopics.errors.InputError: a.csv: expected at most 20.0% refused rows, found 25.0% (1 of 4).
        Mend: correct the rows named below, or raise ingest.max_rejected_share.
      bad_time 1: row 2: published_at ...
    """
    excess = [f for f in files if f.rejected_share > max_share]
    excess.sort(key=lambda file: set(file.refused) <= {"unknown_video"})  # causes first
    if excess:
        raise InputError("\n".join(_excess(f, max_share) for f in excess))


def _excess(file: FileReport, max_share: float) -> str:
    headline = explain(
        file.name,
        expected=f"at most {max_share:.1%} refused rows",
        found=f"{file.rejected_share:.1%} ({file.refused_rows} of {file.rows})",
        mend="correct the rows named below, or raise ingest.max_rejected_share",
    )
    return "\n  ".join(
        [
            headline,
            *(f"{reason} {t.count}: {'; '.join(t.examples)}" for reason, t in file.refused.items()),
        ]
    )
