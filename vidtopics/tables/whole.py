"""Rows of a version some of whose files are gone: a vacuum removes what a compaction rewrote."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import count

import pyarrow as pa
from deltalake import DeltaTable
from pyarrow.fs import FileSystem

from vidtopics.contracts import Table
from vidtopics.errors import TableError, explain
from vidtopics.tables.data_files import missing_files
from vidtopics.tables.scans import local, scan


@contextmanager
def readable(table: Table, version: int | None = None) -> Iterator[None]:
    """Where data files are read: TableError names the one that is gone, cut short or damaged."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        where = table.name if version is None else f"{table.name}, version {version}"
        raise TableError(
            explain(
                where,
                expected="all its data files, whole",
                found=str(error),
                mend="restore the file from a backup; where rows came later, `vidtopics run` "
                "publishes a release that has them",
            )
        ) from error


def whole(delta: DeltaTable, names: Collection[str] | None = None) -> DeltaTable:
    """The snapshot, or the first later version with the same rows and all of its files.

    Once a commit changed rows, those of before can't be told from them: then the snapshot itself,
    and who reads it is told which file is gone.
    """
    if not missing_files(delta, names):
        return delta
    folder = local(delta.table_uri) or scan(delta).filesystem
    for version in count(delta.version() + 1):
        if changed_by(folder, version) != set():  # or there is no such commit
            break
        later = DeltaTable(delta.table_uri, version=version)
        if not missing_files(later):
            return later
    return delta


def changed_by(folder: FileSystem, version: int) -> set[str] | None:
    """How a commit changed rows: by files added ("add") or removed ("remove"), or not at all.

    None where its entry is gone from the log: what it did isn't known.
    """
    try:
        with folder.open_input_stream(f"_delta_log/{version:020}.json") as stream:
            actions = map(json.loads, stream.read().splitlines())
    except FileNotFoundError:
        return None
    kinds = (
        (kind, action[kind]) for action in actions for kind in ("add", "remove") if kind in action
    )
    return {kind for kind, file in kinds if file.get("dataChange", True)}
