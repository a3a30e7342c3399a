"""The rows of a history that hold, with their vectors: keys and times first, then those rows.

Vectors of rows that later ones replaced are never held, and row groups without a row that holds are
never decoded: each run appends the vectors of a few videos to those of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.tables.row_groups import pick_rows
from vidtopics.tables.taking import take

ROW = "row_no"


@dataclass(frozen=True, eq=False)
class LatestRows:
    """The rows of a history that hold at a time, to be read all at once or some after the other.

    Attributes:
        dataset: a version's rows.
        keys: the key columns, N rows in the order of the key.
        numbers: int64[N], of the rows in the dataset.
    """

    dataset: ds.FileSystemDataset
    keys: pa.Table
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, table: Table, dataset: ds.FileSystemDataset, where: ds.Expression) -> LatestRows:
        """Per key the latest of the rows that meet a condition of keys and times alone."""
        columns = [*table.key, EVENT_TIME, CREATED_TIME, VALUE_HASH]
        rows = dataset.to_table(columns=columns)
        rows = rows.append_column(ROW, pa.array(np.arange(len(rows)))).filter(where)
        holding = latest(table, rows, [*table.key, ROW])
        return cls(dataset, holding.select(list(table.key)), holding[ROW].to_numpy())

    def read(self, *names: str) -> pa.Table:
        """Columns of all of them."""
        return gather(self.dataset, names, self.numbers)


def latest(table: Table, rows: pa.Table, names: list[str]) -> pa.Table:
    """Per key, in its order, the row with the latest (event, created), without ended values."""
    times = (EVENT_TIME, CREATED_TIME)
    order = pc.sort_indices(
        rows.select([*table.key, *times]),
        [(name, "ascending") for name in table.key] + [(name, "descending") for name in times],
    ).to_numpy()
    is_latest = np.ones(len(rows), bool)
    for part, key in enumerate(table.key):
        column = rows[key].take(pa.array(order)).combine_chunks()
        differs = pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
        is_latest[1:] = differs | is_latest[1:] if part else differs
    is_latest &= rows[VALUE_HASH].to_numpy()[order] != 0
    return take(rows.select(names), order[is_latest])


def gather(
    dataset: ds.FileSystemDataset, names: Sequence[str], numbers: NDArray[np.int64]
) -> pa.Table:
    """Columns of rows by their numbers in a dataset, in the order given."""
    pieces: list[tuple[NDArray[np.int64], pa.RecordBatch]] = []
    pick_rows(dataset, names, numbers, lambda places, batch: pieces.append((places, batch)))
    pieces.sort(key=lambda piece: int(piece[0][0]))
    schema = pa.schema([dataset.schema.field(name) for name in names])
    rows = pa.Table.from_batches([batch for _, batch in pieces], schema)
    places = np.concatenate([np.empty(0, np.int64), *(piece for piece, _ in pieces)])
    if (places[1:] > places[:-1]).all():
        return rows
    return take(rows, np.argsort(places))
