"""Which rows of a Delta table are new since a version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, Table
from vidtopics.joins.latest import latest
from vidtopics.tables.scans import scan

BATCH = 32_768


@dataclass(frozen=True)
class Changes:
    """The latest row of each entity among the rows that came since a version.

    `read`: rows that were looked at. `not_due`: rows whose event or created time has not come yet; they are left out. `whole`: the whole table
    was read, as there was no earlier version or it can't be opened any more.
    """

    dataset: ds.Dataset
    kept: NDArray[np.bool_]
    read: int
    not_due: int
    whole: bool

    @property
    def rows(self) -> int:
        """Rows to move."""
        return int(self.kept.sum())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in bounded memory."""
        start = 0
        for batch in self.dataset.to_batches(batch_size=BATCH):
            kept = self.kept[start : start + batch.num_rows]
            start += batch.num_rows
            if kept.any():
                yield batch.filter(pa.array(kept))


def changes(table: Table, delta: DeltaTable, since: int | None, *, now_us: int) -> Changes:
    """What came into `delta` (at its version) after version `since`; everything where that is None or is gone.

    Rows that a compaction rewrote come again: the later of two rows wins online, so they change nothing.
    """
    before = _files(delta, since)
    dataset = scan(delta)
    fragments = [f for f in dataset.get_fragments() if before is None or unquote(f.path) not in before]
    dataset = ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)
    rows = dataset.to_table(columns=[*table.key, EVENT_TIME, CREATED_TIME])
    event, created = (rows[name].cast(pa.int64()).to_numpy() for name in (EVENT_TIME, CREATED_TIME))
    due = (event <= now_us) & (created <= now_us)
    kept = np.zeros(len(rows), np.bool_)
    kept[latest(rows.select(list(table.key)), np.where(due, event, np.iinfo(np.int64).min), created)] = True
    kept &= due
    return Changes(dataset, kept, len(rows), int((~due).sum()), before is None)


def _files(delta: DeltaTable, version: int | None) -> set[str] | None:
    """The data files of a version, as the scan names them; None where it can't be opened."""
    if version is None:
        return None
    try:
        return {unquote(f.path) for f in scan(DeltaTable(delta.table_uri, version=version)).get_fragments()}
    except (DeltaError, OSError):
        return None


def live(batch: pa.RecordBatch, table: Table) -> NDArray[np.bool_]:
    """bool[N]: false for tombstones, rows whose features are all null."""
    columns = [pc.is_valid(batch[c.name]).to_numpy(zero_copy_only=False) for c in table.values]
    found: NDArray[np.bool_] = np.logical_or.reduce(columns)
    return found
