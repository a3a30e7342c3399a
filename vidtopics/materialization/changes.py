"""Which rows of a Delta table are new: of the files that came, the latest row of each entity."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, Table
from vidtopics.errors import TableError, explain
from vidtopics.faults import without_stack
from vidtopics.joins.latest import latest
from vidtopics.tables import Tables
from vidtopics.tables.data_files import data_files
from vidtopics.tables.scans import local, require_plain, scan, scan_files
from vidtopics.tables.whole import changed_by, readable, whole
from vidtopics.timestamps import microseconds

BATCH = 32_768
OPEN_TRIES = 4


@dataclass(frozen=True)
class Span:
    """Event times from `since_us` on and before `until_us`."""

    since_us: int
    until_us: int


@dataclass(frozen=True)
class Changes:
    """The latest row of each entity among the rows of some files.

    `read`: rows that were looked at. `not_due`: rows whose event or created time has not come yet;
    they are left out.
    """

    table: Table
    version: int
    dataset: ds.Dataset
    is_latest: NDArray[np.bool_]
    read: int
    not_due: int

    @property
    def rows(self) -> int:
        """Rows to move."""
        return int(self.is_latest.sum())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in bounded memory; TableError where a data file ends early."""
        start = 0
        for batch in self._read():
            is_latest = self.is_latest[start : start + batch.num_rows]
            start += batch.num_rows
            if is_latest.any():
                yield batch.filter(pa.array(is_latest))

    def _read(self) -> Iterator[pa.RecordBatch]:
        with readable(self.table, self.version):
            yield from self.dataset.to_batches(batch_size=BATCH)


def changes(
    table: Table,
    delta: DeltaTable,
    names: Collection[str] | None,
    *,
    now_us: int,
    span: Span | None = None,
) -> Changes:
    """The rows to move among those of some data files of `delta`, all by default.

    `span`: rows of these event times alone.

    Rows that a compaction rewrote come again: the later of two rows wins online, so they change
    nothing.

    Raises:
        TableError: a data file is gone or damaged.
    """
    dataset = scan_files(delta, data_files(delta) if names is None else names)
    with readable(table, delta.version()):
        rows = dataset.to_table(columns=[*table.key, EVENT_TIME, CREATED_TIME])
    event, created = (microseconds(rows[name]) for name in (EVENT_TIME, CREATED_TIME))
    due = (event <= now_us) & (created <= now_us)
    asked = (
        (event >= span.since_us) & (event < span.until_us) if span else np.ones(len(rows), np.bool_)
    )
    is_latest = np.zeros(len(rows), np.bool_)
    is_latest[
        latest(
            rows.select(list(table.key)),
            np.where(due & asked, event, np.iinfo(np.int64).min),
            created,
        )
    ] = True
    is_latest &= due & asked
    return Changes(table, delta.version(), dataset, is_latest, len(rows), int((asked & ~due).sum()))


def files(delta: DeltaTable) -> frozenset[str]:
    """The data files of a snapshot, as the scan names them, from the log alone."""
    return data_files(delta)


def files_of(delta: DeltaTable, version: int) -> frozenset[str] | None:
    """The data files of another version; None where its log is gone.

    Raises:
        TableError: it couldn't be opened now, several times: that says nothing of its rows.
    """
    try:
        return files(_opened(delta.table_uri, version))
    except DeltaError:
        return None
    except OSError as error:
        raise TableError(
            explain(
                f"{delta.table_uri}, version {version}",
                expected="a log that can be read",
                found=f"{error}, {OPEN_TRIES} times",
                mend="see to the storage and run again",
            )
        ) from error


@retry(
    retry=retry_if_exception_type(OSError),
    stop=stop_after_attempt(OPEN_TRIES),
    wait=wait_random(0, 0.2),
    reraise=True,
)
def _opened(uri: str, version: int) -> DeltaTable:
    return DeltaTable(uri, version=version)


def removes_rows(delta: DeltaTable, since: int) -> bool:
    """Whether a commit after version `since` removed rows: RESTORE, DELETE, an overwrite.

    A commit whose log entry was cleaned up may have.
    """
    folder = local(delta.table_uri) or scan(delta).filesystem
    commit_kinds = (
        changed_by(folder, version) for version in range(since + 1, delta.version() + 1)
    )
    return any(kinds is None or "remove" in kinds for kinds in commit_kinds)


def stand_in(
    delta: DeltaTable, names: frozenset[str] | None
) -> tuple[DeltaTable, frozenset[str] | None]:
    """The snapshot to read some files of `delta` from (all by default), and their names in it.

    Where a vacuum took files that were compacted, it is a later version with the same rows. What
    `delta` has is said by its log all the same: watermarks, and the notes beside them, stay with
    its own version and names.
    """
    read = whole(delta, names)
    if read is delta or names is None:
        return read, names
    return read, files(read) - (files(delta) - names)


def snapshot(tables: Tables, table: Table, version: int) -> DeltaTable:
    """The table at a version.

    Raises:
        TableError: it can't be opened, or has deletion vectors or column mapping.
    """
    try:
        delta = tables.delta(table, version=version)
    except DeltaError as error:
        raise TableError(
            explain(
                f"{table.name}, version {version} of its release",
                expected="a version that opens",
                found=without_stack(error),
                mend=f"restore its log from a backup, or run `vidtopics run {table.name}`, which "
                "publishes a new release where the log's end is whole",
            )
        ) from error
    require_plain(delta)
    return delta


def live(batch: pa.RecordBatch, table: Table) -> NDArray[np.bool_]:
    """bool[N]: false for tombstones, rows whose features are all null."""
    columns = [pc.is_valid(batch[c.name]).to_numpy(zero_copy_only=False) for c in table.values]
    is_live: NDArray[np.bool_] = np.logical_or.reduce(columns)
    return is_live
