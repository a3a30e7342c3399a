"""What has happened to a view's table since it was last loaded, and what a run does about it. docs/materialization.md has the rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from deltalake import DeltaTable

from vidtopics.layout import ViewEntry, Watermark
from vidtopics.materialization.changes import digest, files, files_of, removes_rows


@dataclass(frozen=True)
class Source:
    """What a view's live generation was loaded from: the table's id and, per version, a digest of its data files.

    A load enters its version before it writes; once its watermark stands, that version alone is left.
    """

    generation: int
    table_id: str
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text in Redis."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, text: bytes) -> Source:
        """From :meth:`to_json`."""
        return cls(**json.loads(text))

    def and_version(self, version: int, names: frozenset[str]) -> Source:
        """With one more version."""
        return replace(self, versions={**self.versions, str(version): digest(names)})

    def only(self, version: int) -> Source:
        """With that version alone."""
        return replace(self, versions={k: v for k, v in self.versions.items() if k == str(version)})


@dataclass(frozen=True)
class Plan:
    """What to read, and where to.

    `names`: data files to read; None: all. `rebuild`: why a new generation is filled; empty where the live one is written on.
    """

    names: frozenset[str] | None = None
    rebuild: str = ""
    up_to_date: bool = False


def plan(
    delta: DeltaTable,
    entry: ViewEntry | None,
    *,
    fits: bool,
    marks: Sequence[Watermark | None],
    source: Source | None,
    full: bool,
) -> Plan:
    """What brings a view to the version that `delta` is at.

    Args:
        delta: the table at the release's version.
        entry: the view as readers see it; None before its first load.
        fits: whether values of today's schema may lie among the entry's.
        marks: the live generation's watermark per bucket.
        source: what that generation was loaded from.
        full: a new generation whatever the watermarks say.
    """
    if entry is None:
        return Plan()
    why = "asked for" if full else "fields changed" if not fits else _other_table(delta, marks, source)
    if why:
        return Plan(rebuild=why)
    known = [m.version for m in marks if m]
    if not known or len(known) < len(marks):
        return (
            Plan()
        )  # the first load didn't end, or Redis lost a bucket: what is there is of this table, and the later row wins
    return _newer(delta, min(known), source)


def _other_table(delta: DeltaTable, marks: Sequence[Watermark | None], source: Source | None) -> str:
    """Why what is in Redis didn't come from an earlier version of this table; empty where it did, as far as ids and numbers say."""
    ids = {m.table_id for m in marks if m} | ({source.table_id} if source else set())
    versions = [m.version for m in marks if m] + ([int(v) for v in source.versions] if source else [])
    if ids - {str(delta.metadata().id)}:
        return "another table under the path"
    if max(versions, default=0) > delta.version():
        return "the table is at an older version than was loaded"
    return ""


def _newer(delta: DeltaTable, since: int, source: Source | None) -> Plan:
    """The files that came after version `since`."""
    now = files(delta)
    before = now if since == delta.version() else files_of(delta, since)
    if before is None:
        return Plan(rebuild=f"version {since} can't be opened any more")
    if source is not None and source.versions.get(str(since), digest(before)) != digest(before):
        return Plan(rebuild=f"version {since} is not the one that was loaded")
    if since == delta.version():
        return Plan(up_to_date=True)
    if before - now and removes_rows(delta, since):
        return Plan(rebuild="rows were taken out of the table")
    return Plan(now - before)
