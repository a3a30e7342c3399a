"""Which versions of a table a chunk is held against, and the data files of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from vidtopics.tables.data_files import data_files, missing_files
from vidtopics.tables.scans import scan
from vidtopics.tables.whole import changed_by

Files = frozenset[str]


def snapshots(delta: DeltaTable, named: Iterable[int]) -> dict[int, Files]:
    """The data files of versions, ascending.

    The versions are those named, those before each commit that took rows out since, and `delta`
    itself.

    So every row that the table has had since the first of them lies in one. A version whose log or
    files are gone stands with the files of a later one that has the same rows (OPTIMIZE, then
    VACUUM), or is left out.
    """
    latest = delta.version()
    asked = {v for v in named if v < latest}
    changes = _changes(delta, min(asked, default=latest))
    asked |= {v - 1 for v, kinds in changes.items() if "remove" in kinds}
    known: set[str] = set()
    files_of = {v: _same_rows(delta, v, changes, known) for v in sorted(asked)}
    return {v: files for v, files in files_of.items() if files is not None} | {
        latest: frozenset(scan(delta).files)
    }


def _changes(delta: DeltaTable, since: int) -> dict[int, set[str]]:
    """For each later version whether its commit brought rows ("add") or took some ("remove").

    Nothing for OPTIMIZE and VACUUM.
    """
    folder = scan(delta).filesystem
    changes = {
        version: changed_by(folder, version) for version in range(since + 1, delta.version() + 1)
    }
    # What a commit did whose entry was cleaned up isn't known.
    return {
        version: {"add", "remove"} if kinds is None else kinds for version, kinds in changes.items()
    }


def _same_rows(
    delta: DeltaTable, version: int, changes: Mapping[int, set[str]], known: set[str]
) -> Files | None:
    for same in range(version, delta.version() + 1):
        if same > version and changes[same]:
            return None
        if (files := _whole(delta, same, known)) is not None:
            return files
    return None


def _whole(delta: DeltaTable, version: int, known: set[str]) -> Files | None:
    """The data files of a version of this table if it opens and none is gone.

    `known`: names of files that are there; those of this version are added.
    """
    try:
        snapshot = DeltaTable(delta.table_uri, version=version)
    except (DeltaError, OSError):
        return None
    if snapshot.metadata().id != delta.metadata().id:  # replaced since, perhaps by other columns
        return None
    names = data_files(snapshot)
    missing = missing_files(snapshot, names - known)
    known |= names - missing
    return None if missing else frozenset(scan(snapshot).files)
