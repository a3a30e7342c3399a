"""The metadata of our commits: runs, data-changing versions, skip keys.

One JSON text under the commit's `userMetadata`, the key that Spark writes and that both engines'
histories show.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import overload

from deltalake import DeltaTable

from vidtopics.contracts import Table
from vidtopics.layout.known import known_fields
from vidtopics.paths import from_uri
from vidtopics.settings import digest
from vidtopics.storage import mirrors
from vidtopics.tables.tail import CACHED, LOG, METADATA, Entry, entries

__all__ = ["METADATA", "Commit", "CommitLog", "commits"]

CLOCKS_US = 3_600_000_000
"""What the clocks of two writers may differ by: an hour."""
ROLLBACK = "rollback_to"
"""The fact of a commit that brought back the values of an earlier version: that version."""


@dataclass(frozen=True)
class Commit:
    """One run of one job as its commit records it.

    `as_of_us`, `created_us`: from when the values hold and are known. `live`: the wall clock, no
    backfill. `inputs`: the last data-changing version of every input that the run could know.
    `facts`: figures of the result (topic epoch, quality). `rows` and `created_min_us` are filled in
    when the difference is known; `content` hashes a snapshot. `lead_us`: how far ahead of its
    write a live run stamped `created_us`.
    """

    job: str
    as_of_us: int
    created_us: int
    live: bool = False
    code: str = ""
    settings: str = ""
    weights: str = ""
    inputs: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, float | str] = field(default_factory=dict)
    rows: int = 0
    created_min_us: int | None = None
    content: str = ""
    ordinal: int = 0
    lead_us: int = 0
    version: int = -1

    @property
    def skip_key(self) -> str:
        """Equal where a run would give the same result. A live run's time is not part of it."""
        return digest(
            self.job,
            self.code,
            self.settings,
            self.weights,
            dict(self.inputs),
            "live" if self.live else self.as_of_us,
        )

    def to_json(self) -> str:
        """The text for the commit's metadata."""
        return json.dumps({**asdict(self), "key": self.skip_key, "vidtopics": 1}, sort_keys=True)


Read = tuple[Entry, Commit | None]
"""An entry, and the commit that it records; None where that isn't ours."""


class CommitLog(Sequence[Commit]):
    """Our commits to a table up to a version, oldest first; others' (OPTIMIZE) are left out.

    Entries are read backwards and only as far as a question needs: `log[-1]`, `reversed(log)` and
    the methods read the tail, anything else the whole log. Where a cleanup removed old entries, it
    ends there.
    """

    def __init__(self, log: Path, version: int) -> None:
        self._log = log
        self._version = version

    def __reversed__(self) -> Iterator[Commit]:
        return (commit for _, commit in self._tail() if commit is not None)

    def __len__(self) -> int:
        return len(self._commits)

    @overload
    def __getitem__(self, index: int) -> Commit: ...
    @overload
    def __getitem__(self, index: slice) -> list[Commit]: ...
    def __getitem__(self, index: int | slice) -> Commit | list[Commit]:
        if index == -1 and (last := self.last()):
            return last
        return self._commits[index]

    def last(self) -> Commit | None:
        """The last commit; None if there is none."""
        return next(reversed(self), None)

    def since(self, version: int) -> list[Commit]:
        """The commits after a version, newest first."""
        return [*takewhile(lambda commit: commit.version > version, reversed(self))]

    def committed_since(self, since_us: int) -> list[Commit]:
        """The commits that were made at a time or later, newest first."""
        recent = takewhile(lambda pair: pair[0].committed_us >= since_us, self._tail())
        return [commit for _, commit in recent if commit is not None]

    def as_of_or_later(self, at_us: int) -> Iterator[Commit]:
        """The commits that are as of a time or later, newest first.

        None is as of a time after its commit, so that older entries needn't be read.
        """
        for entry, commit in self._tail():
            if entry.committed_us + CLOCKS_US < at_us:
                return
            if commit is not None and commit.as_of_us >= at_us:
                yield commit

    def until(self, version: int) -> CommitLog:
        """The log as it was at a version."""
        return CommitLog(self._log, min(version, self._version))

    def standing(self) -> list[Commit]:
        """The commits that no rollback took back, oldest first."""
        return [commit for _, commit in _standing(self._tail()) if commit is not None][::-1]

    def latest_as_of(self, at_us: int, *, standing: bool = False) -> Commit | None:
        """Of the commits as of a time or before, the last one of the latest as-of time.

        With `standing`, those that a rollback took back don't count.
        """
        latest: Commit | None = None
        for entry, commit in _standing(self._tail()) if standing else self._tail():
            if latest is not None and entry.committed_us + CLOCKS_US < latest.as_of_us:
                break
            if commit is not None and commit.as_of_us <= at_us:
                latest = max(latest or commit, commit, key=lambda c: (c.as_of_us, c.version))
        return latest

    @cached_property
    def _commits(self) -> list[Commit]:
        return [*reversed(self)][::-1]

    def _tail(self) -> Iterator[Read]:
        for entry in entries(self._log, self._version):
            yield entry, _commit(entry.metadata, entry.version)


def _standing(tail: Iterable[Read]) -> Iterator[Read]:
    """The same entries, newest first; without the commits that a rollback took back.

    One that went back to before the first doesn't count either.
    """
    taken_back: list[tuple[int, int]] = []
    for entry, commit in tail:
        if commit is None:
            yield entry, None
            continue
        is_taken_back = any(low < commit.version < high for low, high in taken_back)
        went_back_to = commit.facts.get(ROLLBACK)
        if went_back_to is not None:
            taken_back.append((int(went_back_to), commit.version))
        yield entry, None if is_taken_back or went_back_to == "0" else commit


def commits(table: DeltaTable) -> CommitLog:
    """Our commits to a table, up to the version of its handle."""
    return CommitLog(log_folder(table), table.version())


def log_folder(table: DeltaTable) -> Path:
    """The folder of a table's log; of a bucket's the one of its mirror."""
    uri = table.table_uri
    if mirrors.is_remote(uri):
        return mirrors.log_folder(uri, table.version())
    return from_uri(uri) / LOG


@lru_cache(CACHED)
def _commit(text: str, version: int) -> Commit | None:
    """The commit that made a version; None where it isn't ours."""
    if '"vidtopics"' not in text:
        return None
    fields = json.loads(text)
    del fields["key"], fields["vidtopics"]
    return replace(Commit(**known_fields(Commit, fields)), version=version)


def data_version(table: Table, log: CommitLog, *, as_of_us: int, known_by_us: int) -> int:
    """The last version that changed what a reader at these times sees; 0 if none.

    A snapshot table is read as of the latest run up to the as-of time; where that run found the
    rows unchanged, at the version that wrote them.
    """
    if table.kind == "snapshot":
        latest = log.latest_as_of(as_of_us)
        if latest is None:
            return 0
        until = dropwhile(lambda commit: commit.version > latest.version, reversed(log))
        same = takewhile(lambda commit: commit.content == latest.content, until)
        return min(commit.version for commit in same)
    seen = (
        c.version
        for c in reversed(log)
        if c.rows and c.created_min_us is not None and c.created_min_us <= known_by_us
    )
    return next(seen, 0)


def latest_commit(log: CommitLog, as_of_us: int) -> Commit | None:
    """The last commit of the latest as-of time up to that one; None where there is none.

    Commits that a rollback took back don't count.
    """
    return log.latest_as_of(as_of_us, standing=True)


def is_done(log: CommitLog, commit: Commit) -> bool:
    """Whether the last run at this as-of time (or the last live run) had the same skip key."""
    last = last_run(log, commit.job, None if commit.live else commit.as_of_us)
    return last is not None and last.skip_key == commit.skip_key


def last_run(log: CommitLog, job: str, as_of_us: int | None) -> Commit | None:
    """The last run of a job at an as-of time; with None the last live one."""
    if as_of_us is None:
        return next((c for c in reversed(log) if c.job == job and c.live), None)
    runs = log.as_of_or_later(as_of_us)
    return next((c for c in runs if c.job == job and c.as_of_us == as_of_us), None)


def next_ordinal(table: DeltaTable, job: str) -> int:
    """The number of the job's next transaction; the snapshot knows the last, however old it is."""
    return (table.transaction_version(job) or 0) + 1
