"""Pins: what a result was made of, and how the same snapshot is opened again."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from feast import RepoConfig
from numpy.typing import NDArray
from pyarrow.fs import FileType

from vidtopics.errors import TableError, explain
from vidtopics.stores.delta.rows import NEVER, SnapshotRows
from vidtopics.stores.delta.tables import Place, dataset_of, open_table, reaching
from vidtopics.times import micros, moment

METADATA = b"vidtopics.pins"
"""Where a result's schema metadata has them, as JSON."""
# What Delta keeps where the table doesn't say.
RETENTION = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 1 week",
}
UNITS = ("week", "day", "hour", "minute", "second", "millisecond", "microsecond")


@dataclass(frozen=True)
class Snapshot:
    """A table at a version. `pinned_us`: when it was read; from then on the table's retention counts.

    `files` is a digest of the version's file names: after a backup was put back, a number may come
    to mean another version.
    """

    table_id: str
    version: int
    files: str
    pinned_us: int


@dataclass(frozen=True)
class Rules:
    """By which rules a join took its rows: what a view says today may be something else.

    `known_by`: whether rows had to be known by the spine's time (False where the table doesn't say
    when they were). `types`: of the table's columns that features were taken from.
    """

    known_by: bool
    ttl_us: int
    types: dict[str, str]

    def others(self, now: Rules) -> dict[str, tuple[Any, Any]]:
        """What is another now: name to what it was and what it is. Columns that only one of them takes don't count."""
        kinds = {
            f"type of {name}": (self.types.get(name, kind), kind)
            for name, kind in now.types.items()
        }
        pairs = {
            "known_by": (self.known_by, now.known_by),
            "ttl_us": (self.ttl_us, now.ttl_us),
        } | kinds
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class Pin(Snapshot):
    """A view's snapshot, and what a join saw of it: `rows` rows with event <= `until_us`, none known after `known_by_us`.

    `times` is a checksum of their times, whatever their order: a row more and another less is
    noticed too.
    """

    until_us: int
    known_by_us: int
    rows: int
    times: str
    rules: Rules

    @classmethod
    def of(cls, snapshot: Snapshot, rows: SnapshotRows, until_us: int, rules: Rules) -> Pin:
        """What a join sees of a snapshot."""
        names = [f.name for f in fields(Snapshot)]
        plain = {name: getattr(snapshot, name) for name in names}
        known_by_us = int(rows.created.max(initial=NEVER))
        return cls(
            **plain,
            until_us=until_us,
            known_by_us=known_by_us,
            rows=len(rows.event),
            times=_checksum(rows),
            rules=rules,
        )

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> Pin:
        """From what `asdict` gave; KeyError or TypeError where it isn't that."""
        return cls(**{**plain, "rules": Rules(**plain["rules"])})


@dataclass(frozen=True)
class Pins:
    """Of a result: per view, and per table that its spine's SQL read."""

    views: dict[str, Pin] = field(default_factory=dict)
    entity_df: dict[str, Snapshot] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Mapping[str, Mapping[str, Any]]) -> Pins:
        """From what :meth:`plain` gave."""
        try:
            views = {name: Pin.parse(pin) for name, pin in plain["views"].items()}
            return cls(
                views, {name: Snapshot(**pin) for name, pin in plain.get("entity_df", {}).items()}
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise TableError(
                explain(
                    "pins",
                    expected="what a result's metadata holds under vidtopics.pins",
                    found=repr(error),
                    mend="save json.dumps(job.pins) of a finished job; if an earlier version made them, make the result anew",
                )
            ) from error

    def plain(self) -> dict[str, dict[str, Any]]:
        """As JSON has it."""
        return asdict(self)


_PINNED: ContextVar[Pins | None] = ContextVar("pinned", default=None)


@contextmanager
def pinned(pins: pa.Table | Mapping[str, Any] | str | os.PathLike[str]) -> Iterator[None]:
    """Within it every `get_historical_features` reads the snapshots that an earlier result was made of.

    Args:
        pins: that result as an Arrow table, its `job.pins`, or a file: Parquet written from that table, or JSON of `job.pins`.

    Raises:
        TableError: no pins in it. Later, by the job: a view without a pin, another table under the path, a pin past the table's
            retention, or rows that were known by then have come or gone.
    """
    token = _PINNED.set(_read(pins))
    try:
        yield
    finally:
        _PINNED.reset(token)


def pins_for(config: RepoConfig) -> Pins | None:
    """Those of the surrounding :func:`pinned`, else those of `pins` in feature_store.yaml."""
    path = getattr(config.offline_store, "pins", "")
    here = _PINNED.get()
    return here if here is not None or not path else _read(Path(config.repo_path or ".") / path)


def now(delta: DeltaTable) -> Snapshot:
    """The table as it was just opened."""
    return Snapshot(
        str(delta.metadata().id), delta.version(), _files(delta), micros(datetime.now(UTC))
    )


def reopen(place: Place, pin: Snapshot, where: str) -> tuple[DeltaTable, bool]:
    """The pinned version; or, where it is gone, the newest and True.

    Raises:
        TableError: another table lies there, or another version under this number; the pin is older than what the table promises to keep.
    """
    newest = open_table(place, where)
    found = str(newest.metadata().id)
    if found != pin.table_id:
        raise TableError(
            explain(
                f"pin of {where}",
                expected=f"the table {pin.table_id} at {place.uri}",
                found=f"the table {found}",
                mend="restore the table of that id, or make the result anew without pins",
            )
        )
    age = timedelta(microseconds=micros(datetime.now(UTC)) - pin.pinned_us)
    name, horizon = _horizon(newest)
    if age > horizon:
        raise TableError(
            explain(
                f"pin of {where}",
                expected=f"one not older than {horizon} ({name} of {place.uri})",
                found=f"one of {moment(pin.pinned_us)}",
                mend="make the result anew without pins; where results have to last longer, keep them, or set a longer retention",
            )
        )
    with reaching(place, where):
        there = _version(newest, place, pin.version)
    if there is None:
        return newest, True
    if _files(there) != pin.files:
        raise TableError(
            explain(
                f"pin of {where}",
                expected=f"the version {pin.version} whose files have the digest {pin.files}",
                found=f"another version of this number, {_files(there)}",
                mend="a backup was put back and the table went another way; make the result anew without pins",
            )
        )
    return there, False


def same_rules(pin: Pin, now: Rules, where: str) -> None:
    """TableError where a join would go by other rules than that of the pin, which would give another result."""
    others = pin.rules.others(now)
    if others:
        before, after = (
            ", ".join(f"{name} {pair[i]}" for name, pair in others.items()) for i in (0, 1)
        )
        raise TableError(
            explain(
                f"pin of {where}",
                expected=f"{before}, as the result was made with",
                found=after,
                mend="ask as then (filter_by_created_timestamp or `known_by`, the view's TTL), or make the result anew without pins",
            )
        )


def cut(rows: SnapshotRows, pin: Pin, version: int, where: str) -> SnapshotRows:
    """The rows of a newer version that the pin's join saw; TableError where they are not the same any more."""
    found = rows.known_by(pin.known_by_us)
    seen = Pin.of(pin, found, pin.until_us, pin.rules)
    if (seen.rows, seen.times) != (pin.rows, pin.times):
        raise TableError(
            explain(
                f"pin of {where}, version {pin.version} is gone",
                expected=f"the {pin.rows} rows that it saw, times {pin.times}",
                found=f"{seen.rows} rows, times {seen.times}, known by then in version {version}",
                mend="rows were deleted, or came with an earlier created time; make the result anew without pins",
            )
        )
    return found


def _read(pins: pa.Table | Mapping[str, Any] | str | os.PathLike[str]) -> Pins:
    if isinstance(pins, Mapping):
        return Pins.of(pins)
    if isinstance(pins, pa.Table):
        return _from_metadata(pins.schema, "the table")
    path = Path(pins)
    try:
        if path.suffix == ".parquet":
            return _from_metadata(pq.read_schema(path), str(path))
        return Pins.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:  # no JSON, no Parquet and no UTF-8 are ValueErrors
        raise TableError(
            explain(
                f"pins {path}",
                expected="a Parquet file of a result, or JSON of job.pins",
                found=str(error).splitlines()[0],
                mend="correct the path, or save json.dumps(job.pins) again",
            )
        ) from error


def _from_metadata(schema: pa.Schema, where: str) -> Pins:
    text = (schema.metadata or {}).get(METADATA)
    if text is None:
        raise TableError(
            explain(
                where,
                expected="pins in its schema metadata",
                found="none",
                mend="take a table from job.to_arrow(); pandas drops them, so save job.pins beside a frame",
            )
        )
    return Pins.of(json.loads(text))


def _horizon(delta: DeltaTable) -> tuple[str, timedelta]:
    """The shorter of the table's two retentions, with its name."""
    said = {
        name: delta.metadata().configuration.get(name) or text for name, text in RETENTION.items()
    }
    lengths = {name: _length(name, text) for name, text in said.items()}
    return min(lengths.items(), key=lambda item: item[1])


def _length(name: str, text: str) -> timedelta:
    """Of a text like `interval 1 week 12 hours`, as Delta's interval has them."""
    unit = "|".join(UNITS)
    if not re.fullmatch(rf"(interval)?(\s*\b\d+\s+({unit})s?\b)+\s*", text, re.IGNORECASE):
        raise TableError(
            explain(
                name,
                expected=f"`interval` and numbers of {', '.join(UNITS)}",
                found=repr(text),
                mend="set the table's property so, as Delta has no months or years there",
            )
        )
    found = re.findall(rf"(\d+)\s+({unit})", text, re.IGNORECASE)
    return sum((timedelta(**{f"{unit.lower()}s": int(n)}) for n, unit in found), timedelta())


def _version(newest: DeltaTable, place: Place, version: int) -> DeltaTable | None:
    """That version of a table; None where its log or one of its files is gone."""
    if newest.version() == version:
        return newest
    try:
        there = DeltaTable(place.uri, version=version, storage_options=place.storage_options)
        return None if _missing_files(there) else there
    except (DeltaError, FileNotFoundError):
        return None


def _files(delta: DeltaTable) -> str:
    names = sorted(uri.rpartition("/")[2] for uri in delta.file_uris())
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def _missing_files(delta: DeltaTable) -> bool:
    dataset = dataset_of(delta)
    return any(
        found.type == FileType.NotFound for found in dataset.filesystem.get_file_info(dataset.files)
    )


def _checksum(rows: SnapshotRows) -> str:
    mixed: NDArray[np.uint64] = rows.event.view(np.uint64) * np.uint64(
        0x9E3779B97F4A7C15
    ) + rows.created.view(np.uint64)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    return f"{int(mixed.sum(dtype=np.uint64)):016x}"
