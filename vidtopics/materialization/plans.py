"""What happened to a view's table since its last load, and what a run does about it.

docs/materialization.md has the rules.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from deltalake import DeltaTable

from vidtopics.layout import ViewEntry, Watermark
from vidtopics.layout.known import known_fields
from vidtopics.materialization.changes import files, files_of, removes_rows
from vidtopics.tables.data_files import files_digest


@dataclass(frozen=True)
class LoadRecord:
    """What a generation was loaded from: the table's id and, per version, a digest of its files.

    A load enters its version before it writes; once its watermark stands, that version alone is
    left. Rows of any of them may lie in Redis. `ttl_us`: the shortest TTL that rows were written
    with, as Redis drops them some time after it; 0: none.
    """

    generation: int
    table_id: str
    versions: dict[str, str] = field(default_factory=dict)
    ttl_us: int = 0

    def to_json(self) -> str:
        """The text in Redis."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, text: bytes) -> LoadRecord:
        """From :meth:`to_json`."""
        return cls(**known_fields(cls, json.loads(text)))

    def with_version(self, version: int, names: frozenset[str], since: int | None) -> LoadRecord:
        """With one more version; of the others the one of the lowest watermark stays.

        The new version has all rows of the rest.
        """
        remaining = {} if since is None else self.restricted_to(since).versions
        return replace(self, versions={**remaining, str(version): files_digest(names)})

    def with_ttl(self, ttl_us: int) -> LoadRecord:
        """With rows of that TTL.

        >>> LoadRecord(1, "t").with_ttl(5).with_ttl(7).with_ttl(0).ttl_us
        5
        """
        return replace(self, ttl_us=min(filter(None, (self.ttl_us, ttl_us)), default=0))

    def restricted_to(self, version: int) -> LoadRecord:
        """With that version alone."""
        return replace(self, versions={k: v for k, v in self.versions.items() if k == str(version)})


@dataclass(frozen=True)
class Plan:
    """What to read, and where to.

    `names`: data files to read; None: all. `rebuild`: why a new generation is filled; empty where
    the live one is written on. `since`: the version of the lowest watermark; None where one is
    missing.
    """

    names: frozenset[str] | None = None
    rebuild: str = ""
    since: int | None = None
    up_to_date: bool = False


def plan(
    delta: DeltaTable,
    entry: ViewEntry | None,
    *,
    fits: bool,
    ttl_us: int,
    marks: Sequence[Watermark | None],
    source: LoadRecord | None,
    full: bool,
) -> Plan:
    """What brings a view to the version that `delta` is at.

    Args:
        delta: the table at the release's version.
        entry: the view as readers see it; None before its first load.
        fits: whether values of today's schema may lie among the entry's.
        ttl_us: today's TTL.
        marks: the live generation's watermark per bucket.
        source: what that generation was loaded from.
        full: a new generation whatever the watermarks say.
    """
    if entry is None:
        return Plan()
    versions = {m.version for m in marks if m} | (
        {int(v) for v in source.versions} if source else set()
    )
    why = (
        "asked for"
        if full
        else "fields changed"
        if not fits
        else table_replaced_reason(delta, versions, marks, source)
    )
    shortest = min(filter(None, (source.ttl_us if source else 0, entry.ttl_us)), default=0)
    if 0 < shortest < (ttl_us or math.inf):
        why = (
            why or "the TTL is longer now"
            # Redis may have dropped what it lets in; Feast's writers, too, enter a TTL before they
            # write
        )
    current: frozenset[str] = frozenset() if why else files(delta)
    known = {
        v: current if v == delta.version() else files_of(delta, v)
        for v in (() if why else sorted(versions))
    }
    why = why or removed_rows_reason(delta, current, known, source)
    if why:
        return Plan(rebuild=why)
    if not all(marks):
        # The first load didn't end, or Redis lost a bucket: what is there is of this table, and the
        # later row wins.
        return Plan()
    since = min(m.version for m in marks if m)
    if since == delta.version():
        return Plan(up_to_date=True, since=since)
    return Plan(current - (known[since] or frozenset()), since=since)


def table_replaced_reason(
    delta: DeltaTable,
    versions: Iterable[int],
    marks: Sequence[Watermark | None],
    source: LoadRecord | None,
) -> str:
    """Why values in Redis aren't of an earlier version of this table, by ids and numbers.

    Empty where they are.
    """
    ids = {m.table_id for m in marks if m} | ({source.table_id} if source else set())
    if ids - {str(delta.metadata().id)}:
        return "another table under the path"
    if max(versions, default=0) > delta.version():
        return "the table is at an older version than was loaded"
    return ""


def removed_rows_reason(
    delta: DeltaTable,
    current: frozenset[str],
    known: Mapping[int, frozenset[str] | None],
    source: LoadRecord | None,
) -> str:
    """Why rows may lie in Redis that the table has no more; empty where none do.

    `current`: the files of `delta`; `known`: those of each version that was written from.
    """
    written_files: set[str] = set()
    for version, names in known.items():
        if names is None:
            return f"version {version} can't be opened any more"
        if source is not None and source.versions.get(
            str(version), files_digest(names)
        ) != files_digest(names):
            return f"version {version} is not the one that was loaded"
        written_files |= names
    if written_files - current and removes_rows(delta, min(known)):
        return "rows were taken out of the table"
    return ""
