"""Records of the loads that went live, and which of them can be gone back to. Pure functions.

A load is a run of `materialize` that wrote something; its number rises. The switch that makes it
live leaves a record (a field of the hash `releases`: load to JSON): what the directory said then.
Going back is the same transaction with an earlier record's contents. As long as a record stands,
the generations, lists and versions of values that it names stay in Redis.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise

from vidtopics.layout import ViewEntry
from vidtopics.layout.known import known_fields
from vidtopics.materialization.registration import Generation

MOST_RECORDS = 8
"""A value that changes with every release has that many versions at most, whatever `keep` says."""


@dataclass(frozen=True)
class LiveRecord:
    """What one switch made live.

    Attributes:
        load: the number of the load.
        release: the release that it brought.
        live_us: when it went live.
        entries: the entry of each view that runs have loaded.
        sources: per view the note of what its generation was loaded from.
        marks: per view the lowest watermark of its buckets; empty where one had none.
        structures: what the hash `structures` said.
        incomplete: views and structures that were left behind, as their tables are damaged.
    """

    load: int
    release: int
    live_us: int
    entries: Mapping[str, ViewEntry]
    sources: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    structures: Mapping[str, str] = field(default_factory=dict)
    incomplete: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The text in Redis."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> LiveRecord:
        """From :meth:`to_json`.

        >>> record = LiveRecord(3, 7, 9, {"v": ViewEntry(1, 1, 0, 5, ("id",), live=3)})
        >>> LiveRecord.from_json(record.to_json()) == record
        True
        """
        plain = known_fields(cls, json.loads(text))
        entries = {
            view: ViewEntry.from_json(json.dumps(entry)) for view, entry in plain["entries"].items()
        }
        return cls(**plain | {"entries": entries, "incomplete": tuple(plain.get("incomplete", ()))})

    def without_view(self, view: str) -> LiveRecord:
        """The record without a view that was dropped: its keys go, so nobody can go back to it."""
        return replace(
            self,
            entries={name: entry for name, entry in self.entries.items() if name != view},
            sources={name: source for name, source in self.sources.items() if name != view},
            marks={name: mark for name, mark in self.marks.items() if name != view},
        )


def parse_records(texts: Mapping[bytes, bytes]) -> list[LiveRecord]:
    """The records of the hash `releases`, by rising load; the last is live."""
    return [LiveRecord.from_json(texts[load]) for load in sorted(texts, key=int)]


def generations_of(records: Iterable[LiveRecord]) -> set[Generation]:
    """The generations that records name."""
    return {
        (entry.number, entry.generation) for record in records for entry in record.entries.values()
    }


def retained_loads(
    records: Iterable[LiveRecord], live: ViewEntry | None, generation: Generation
) -> list[int]:
    """The loads at which a view's values in a generation may be read, rising.

    >>> entries = [ViewEntry(1, 2, 0, 5, live=load) for load in (3, 4)]
    >>> records = [LiveRecord(e.live, 1, 0, {"v": e}) for e in entries]
    >>> retained_loads(records, ViewEntry(1, 2, 0, 5, live=6), (1, 2))
    [3, 4, 6]
    >>> retained_loads(records, entries[1], (1, 3))
    []
    """
    entries = [entry for record in records for entry in record.entries.values()]
    return sorted(
        {
            entry.live
            for entry in (*entries, *([live] if live else ()))
            if (entry.number, entry.generation) == generation
        }
    )


def queue_loads(records: Iterable[LiveRecord]) -> set[int]:
    """The loads whose lists of topics the records name."""
    return {
        facts["load"]
        for record in records
        for facts in map(json.loads, record.structures.values())
        if "load" in facts
    }


def expired(records: Sequence[LiveRecord], now_us: int, keep_us: int) -> list[LiveRecord]:
    """The records that nobody goes back to any more; the live one never is.

    A record's time counts from when the next one took its place, so that the release before the
    live one is retained for the whole of it, however rare releases are.

    >>> records = [LiveRecord(load, load, 100 * load, {}) for load in (1, 2, 3)]
    >>> [r.load for r in expired(records, 310, 50)], [r.load for r in expired(records, 999, 50)]
    ([1], [1, 2])
    """
    old = [r for r, successor in pairwise(records) if successor.live_us + keep_us <= now_us]
    surplus = records[:-MOST_RECORDS]
    return [r for r in records if r in old or r in surplus]
