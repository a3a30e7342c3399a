"""Events of files, to be sent: lines of events, or rows of a log in the ingest format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vidtopics import parquet_limits
from vidtopics.errors import InputError, explain
from vidtopics.online.event_rules import FIELDS, as_number

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
_TRUTH = {"true": True, "false": False}
"""As ingest takes it, in any case, also of Python; anything else is a number."""


def events_of(path: Path) -> Iterator[object]:
    """The events of a file, in its order; a row with `clicked` is an impression, and its click.

    What isn't an event is given as it is: the client refuses it with its reason.

    Raises:
        InputError: the file can't be read, or has another ending.

    >>> row = {"event_id": "e", "user_id": "u", "video_id": "v", "event_timestamp": 0, "clicked": 1}
    >>> [event["kind"] for event in events_of_row(row)]
    ['impression', 'click']
    """
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            explain(
                path.name,
                expected=f"a file that ends with {', '.join(SUFFIXES)}",
                found=path.suffix or "no ending",
                mend="convert it, or rename it",
            )
        )
    try:
        for row in readers.get(path.suffix.lower(), _json_rows)(path):
            yield from events_of_row(row)
    except (OSError, pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            explain(
                path.name,
                expected="a file that can be read to its end",
                found=reason,
                mend="correct it; what was sent before counts once if it is sent again",
            )
        ) from error


def events_of_row(row: object) -> Iterable[object]:
    """An event as it is; of a row of a log its impression, and its click where it has one.

    A row without `clicked` is an impression; one whose `clicked` ingest would refuse keeps it, so
    that the client refuses it, too, as a `clicked_at` where `clicked` is 0.
    """
    if not isinstance(row, Mapping) or "kind" in row:
        return [row]
    plain = {name: row[name] for name in FIELDS if name in row}
    is_clicked = _is_clicked(row.get("clicked", False))
    if is_clicked is None:
        return [{"clicked": row["clicked"], **plain}]
    after = ("clicked_at", "watch_seconds") if is_clicked else ("watch_seconds",)
    shown = {name: value for name, value in plain.items() if name not in after}
    impression = {"kind": "impression", **shown}
    return [impression, {"kind": "click", **plain}] if is_clicked else [impression]


def _is_clicked(value: object) -> bool | None:
    """By ingest's rule; None where it refuses the value."""
    named = _TRUTH.get(str(value).lower())
    number = as_number(value) if named is None else float(named)
    return bool(number) if number in (0, 1) else None


def _json_rows(path: Path) -> Iterator[object]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    yield line.rstrip("\n")


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    parquet_limits.check_file(path, path.name)
    with pq.ParquetFile(path) as file:
        for batch in parquet_limits.batches(file, 10_000):
            yield from batch.to_pylist()
