"""What staging reports: per file, what was read, accepted, refused and warned of."""

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
    """One delivered file.

    `refused` and `warnings` are tallies by reason; `dialect` says how a CSV file is written, empty
    for commas, UTF-8 and LF, and for Parquet.
    """

    name: str
    file_hash: str
    rows: int
    accepted: int
    refused: Mapping[str, Tally]
    warnings: Mapping[str, Tally]
    dialect: str = ""

    @property
    def rejected_share(self) -> float:
        """Refused rows over rows read; 0 for an empty file."""
        return 1 - self.accepted / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Delivery:
    """Staged rows: one Parquet file per table name (`<table>` and `<table>_rejected`), and a report per file."""

    staged: Mapping[str, Path]
    files: Sequence[FileReport]
    delivered_at: datetime


def refuse_excess(files: Sequence[FileReport], max_share: float) -> None:
    """InputError if more than `max_share` of any file's rows are refused; it names reasons and first rows.

    >>> file = FileReport("videos.csv", "", 4, 3, {"bad_time": Tally(1, ("row 2: published_at ...",))}, {})
    >>> refuse_excess([file], 0.25)
    >>> refuse_excess([file], 0.2)
    Traceback (most recent call last):
    ...
    vidtopics.errors.InputError: videos.csv: expected at most 20.0% refused rows, found 25.0% (1 of 4).
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
        found=f"{file.rejected_share:.1%} ({file.rows - file.accepted} of {file.rows})",
        mend="correct the rows named below, or raise ingest.max_rejected_share",
    )
    return "\n  ".join(
        [
            headline,
            *(f"{reason} {t.count}: {'; '.join(t.examples)}" for reason, t in file.refused.items()),
        ]
    )
