"""Pins: which snapshots a result was joined from, and how the same rows are read again.

One format for Feast's offline store and for `consumers.training.join_stream`: JSON under
`vidtopics.pins` in a result's schema metadata, or in the metadata of its Delta commit.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME
from vidtopics.errors import TableError, explain
from vidtopics.tables import FOREVER
from vidtopics.tables.data_files import data_files, files_digest, missing_files
from vidtopics.tables.scans import scan
from vidtopics.times import micros, moment
from vidtopics.timestamps import microseconds

METADATA = b"vidtopics.pins"
"""Where a result's schema metadata has them, as JSON."""
NEVER = int(np.iinfo(np.int64).min)
"""The time of a null: before every other."""
# What Delta keeps where the table doesn't say.
RETENTION = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 1 week",
}
UNITS = ("week", "day", "hour", "minute", "second", "millisecond", "microsecond")


@dataclass(frozen=True)
class Snapshot:
    """A table at a version.

    `pinned_us`: when it was read; from then on the table's retention counts.

    `files_digest` is one of the version's file names: after a backup was put back, a number may
    come to mean another version.
    """

    table_id: str
    version: int
    files_digest: str
    pinned_us: int

    @classmethod
    def of_delta(cls, delta: DeltaTable) -> Snapshot:
        """Of a table as it was just opened."""
        digest = files_digest(data_files(delta))
        now_us = micros(datetime.now(UTC))
        return cls(str(delta.metadata().id), delta.version(), digest, now_us)


@dataclass(frozen=True)
class Rules:
    """By which rules a join took its rows: what a view says today may be something else.

    `known_by`: whether rows had to be known by the spine's time (False where the table doesn't say
    when they were). `types`: of the table's columns that features were taken from. `served`: the
    store that rows had to be live in; empty where it was enough that they were committed.
    """

    known_by: bool
    ttl_us: int
    types: dict[str, str]
    served: str = ""

    def others(self, now: Rules) -> dict[str, tuple[Any, Any]]:
        """What changed: name to (before, now). Columns that only one of them takes don't count."""
        kinds = {
            f"type of {name}": (self.types.get(name, kind), kind)
            for name, kind in now.types.items()
        }
        pairs = {
            "known_by": (self.known_by, now.known_by),
            "ttl_us": (self.ttl_us, now.ttl_us),
            "served": (self.served, now.served),
        } | kinds
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class Pin(Snapshot):
    """A view's snapshot, and what a join saw of it.

    These are `rows` rows with event <= `until_us`, none known after `known_by_us`.

    `times` is a checksum of their times, whatever their order: a row more and another less is
    noticed too.
    """

    until_us: int
    known_by_us: int
    rows: int
    times: str
    rules: Rules

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        event_us: NDArray[np.int64],
        created_us: NDArray[np.int64],
        until_us: int,
        rules: Rules,
    ) -> Pin:
        """What a join sees of a snapshot: rows of these times, int64[M] microseconds."""
        names = [f.name for f in fields(Snapshot)]
        plain = {name: getattr(snapshot, name) for name in names}
        known_by_us = int(created_us.max(initial=NEVER))
        return cls(
            **plain,
            until_us=until_us,
            known_by_us=known_by_us,
            rows=len(event_us),
            times=_checksum(event_us, created_us),
            rules=rules,
        )

    @classmethod
    def of_table(cls, delta: DeltaTable, rules: Rules) -> Pin:
        """Of all rows of a contract's table; their times are read in bounded memory."""
        rows, known_by_us, times = 0, NEVER, 0
        names = [EVENT_TIME, CREATED_TIME]
        for batch in scan(delta).to_batches(columns=names, fragment_readahead=1):
            event_us, created_us = (microseconds(batch[name]) for name in names)
            rows += len(event_us)
            known_by_us = max(known_by_us, int(created_us.max(initial=NEVER)))
            times += int(_checksum(event_us, created_us), 16)
        return cls(
            **asdict(Snapshot.of_delta(delta)),
            until_us=FOREVER,
            known_by_us=known_by_us,
            rows=rows,
            times=f"{times % 2**64:016x}",
            rules=rules,
        )

    def covers(self, until_us: int, rules: Rules) -> bool:
        """Whether the pin says all of a join up to a time that takes its rows by these rules."""
        return until_us <= self.until_us and rules.types.items() <= self.rules.types.items()

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
                    mend="save json.dumps(job.pins) of a finished job; if an earlier version made "
                    "them, make the result anew",
                )
            ) from error

    def plain(self) -> dict[str, dict[str, Any]]:
        """As JSON has it."""
        return asdict(self)

    def of_views(self, names: Collection[str], where: str) -> Pins:
        """These pins; TableError where one of the views has none."""
        missing = [name for name in names if name not in self.views]
        if missing:
            raise TableError(
                explain(
                    where,
                    expected=f"a pin of {', '.join(missing)}",
                    found=f"pins of {', '.join(self.views) or 'no view'}",
                    mend="ask for the views of the pinned result",
                )
            )
        return self

    def metadata(self) -> dict[bytes, bytes]:
        """As a result's schema metadata has them."""
        return {METADATA: json.dumps(self.plain()).encode()}


def reopen(
    newest: DeltaTable, pin: Snapshot, where: str, storage_options: dict[str, str] | None = None
) -> tuple[DeltaTable, bool]:
    """The pinned version of a table; or, where it is gone, `newest` itself and True.

    Raises:
        TableError: another table lies there, or another version under this number; the pin is
            older than what the table promises to keep.
    """
    table_id = str(newest.metadata().id)
    if table_id != pin.table_id:
        raise TableError(
            explain(
                f"pin of {where}",
                expected=f"the table {pin.table_id} at {newest.table_uri}",
                found=f"the table {table_id}",
                mend="restore the table of that id, or make the result anew without pins",
            )
        )
    age = timedelta(microseconds=micros(datetime.now(UTC)) - pin.pinned_us)
    name, horizon = _horizon(newest)
    if age > horizon:
        raise TableError(
            explain(
                f"pin of {where}",
                expected=f"one not older than {horizon} ({name} of {newest.table_uri})",
                found=f"one of {moment(pin.pinned_us)}",
                mend="make the result anew without pins; where results have to last longer, "
                "keep them, or set a longer retention",
            )
        )
    delta = _version(newest, pin.version, storage_options)
    if delta is None:
        return newest, True
    digest = files_digest(data_files(delta))
    if digest != pin.files_digest:
        raise TableError(
            explain(
                f"pin of {where}",
                expected=f"the version {pin.version} whose files have the digest "
                f"{pin.files_digest}",
                found=f"another version of this number, {digest}",
                mend="a backup was put back and the table went another way; make the result anew "
                "without pins",
            )
        )
    return delta, False


def same_rules(pin: Pin, now: Rules, where: str) -> None:
    """TableError where a join goes by other rules than the pin's: it would give another result."""
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
                mend="ask as then (filter_by_created_timestamp or `known_by`, the view's TTL), or "
                "make the result anew without pins",
            )
        )


def rows_seen(
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64],
    pin: Pin,
    version: int,
    where: str,
) -> NDArray[np.bool_]:
    """bool[M]: which rows of a newer version the pin's join saw, among those of these times.

    Raises:
        TableError: they are not the same rows any more.
    """
    seen: NDArray[np.bool_] = (event_us <= pin.until_us) & (created_us <= pin.known_by_us)
    now = Pin.of(pin, event_us[seen], created_us[seen], pin.until_us, pin.rules)
    if (now.rows, now.times) != (pin.rows, pin.times):
        raise TableError(
            explain(
                f"pin of {where}, version {pin.version} is gone",
                expected=f"the {pin.rows} rows that it saw, times {pin.times}",
                found=f"{now.rows} rows, times {now.times}, known by then in version {version}",
                mend="rows were deleted, or came with an earlier created time; make the result "
                "anew without pins",
            )
        )
    return seen


def beyond_pin(pin: Pin, until_us: int, where: str) -> TableError:
    """Of a spine that goes beyond the time up to which a pin whose version is gone counts."""
    return TableError(
        explain(
            f"pin of {where}, version {pin.version} is gone",
            expected="no time of the spine after those that it was made for",
            found=f"{until_us} microseconds since 1970, after {pin.until_us}",
            mend="use the pin with the spine that it comes from",
        )
    )


def read_pins(pins: pa.Table | Mapping[str, Any] | str | os.PathLike[str]) -> Pins:
    """Of a result: its Arrow table, its `job.pins`, or a file.

    A file is Parquet or a Delta table of the result, or JSON of `job.pins`. TableError where there
    are no pins in it.
    """
    if isinstance(pins, Mapping):
        return Pins.of(pins)
    if isinstance(pins, pa.Table):
        return _from_metadata(pins.schema, "the table")
    path = Path(pins)
    try:
        if path.is_dir():
            return _from_commit(path)
        if path.suffix == ".parquet":
            return _from_metadata(pq.read_schema(path), str(path))
        return Pins.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, DeltaError) as error:  # no JSON, Parquet or UTF-8: ValueError
        raise TableError(
            explain(
                f"pins {path}",
                expected="a Parquet file or Delta table of a result, or JSON of job.pins",
                found=str(error).splitlines()[0],
                mend="correct the path, or save json.dumps(job.pins) again",
            )
        ) from error


def pins_of_commit(schema: pa.Schema) -> CommitProperties:
    """For the commit that writes a result with this schema to a Delta table: its pins, if any."""
    pins = (schema.metadata or {}).get(METADATA)
    return CommitProperties(custom_metadata={METADATA.decode(): pins.decode()} if pins else {})


def _from_commit(path: Path) -> Pins:
    (commit,) = DeltaTable(path).history(1)
    by_spark = json.loads(commit.get("userMetadata") or "{}")
    text = commit.get(METADATA.decode()) or by_spark.get(METADATA.decode())
    return _parse_pins(
        text, f"the last commit of {path}", "take a table that a join wrote, unchanged"
    )


def _from_metadata(schema: pa.Schema, where: str) -> Pins:
    return _parse_pins(
        (schema.metadata or {}).get(METADATA),
        where,
        "take a table from job.to_arrow(); pandas drops them, so save job.pins beside a frame",
    )


def _parse_pins(text: str | bytes | None, where: str, mend: str) -> Pins:
    if text is None:
        raise TableError(explain(where, expected="pins in its metadata", found="none", mend=mend))
    return Pins.of(json.loads(text))


def _horizon(delta: DeltaTable) -> tuple[str, timedelta]:
    """The shorter of the table's two retentions, with its name."""
    retentions = {
        name: delta.metadata().configuration.get(name) or text for name, text in RETENTION.items()
    }
    lengths = {name: _length(name, text) for name, text in retentions.items()}
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
    parts = re.findall(rf"(\d+)\s+({unit})", text, re.IGNORECASE)
    return sum((timedelta(**{f"{unit.lower()}s": int(n)}) for n, unit in parts), timedelta())


def _version(
    newest: DeltaTable, version: int, storage_options: dict[str, str] | None
) -> DeltaTable | None:
    """That version of a table; None where its log or one of its files is gone."""
    if newest.version() == version:
        return newest
    try:
        delta = DeltaTable(newest.table_uri, version=version, storage_options=storage_options)
        return None if missing_files(delta) else delta
    except (DeltaError, FileNotFoundError):
        return None


def _checksum(event_us: NDArray[np.int64], created_us: NDArray[np.int64]) -> str:
    """Of pairs of times, whatever their order."""
    mixed: NDArray[np.uint64] = event_us.view(np.uint64) * np.uint64(
        0x9E3779B97F4A7C15
    ) + created_us.view(np.uint64)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(29)
    return f"{int(mixed.sum(dtype=np.uint64)):016x}"
