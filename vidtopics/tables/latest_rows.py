"""The rows of a history that hold, with their vectors: keys and times first, then those rows.

Vectors of rows that later ones replaced are never held, and row groups without a row that holds are
never decoded: each run appends the vectors of a few videos to those of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.tables.row_groups import read_at_once, row_groups
from vidtopics.tables.taking import take

ROW = "row_no"


def read_latest(
    table: Table, dataset: ds.FileSystemDataset, names: Sequence[str], where: ds.Expression
) -> pa.Table:
    """Per key, in its order, columns of the latest of the rows that meet a condition.

    Args:
        table: of kind history.
        dataset: a version's rows.
        names: columns to read.
        where: of keys and times alone.
    """
    columns = [*table.key, EVENT_TIME, CREATED_TIME, VALUE_HASH]
    rows = dataset.to_table(columns=columns)
    rows = rows.append_column(ROW, pa.array(np.arange(len(rows)))).filter(where)
    return gather(dataset, names, latest(table, rows, [ROW])[ROW].to_numpy())


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
    order = np.argsort(numbers, kind="stable")
    ascending = numbers[order]
    pieces: list[tuple[int, pa.RecordBatch]] = []

    def pick(batch: pa.RecordBatch, first_row: int) -> None:
        low, high = ascending.searchsorted([first_row, first_row + batch.num_rows])
        if high > low:
            pieces.append((int(low), batch.take(pa.array(ascending[low:high] - first_row))))

    groups = (g for g in row_groups(dataset) if _has_any(ascending, g.first_row, g.rows))
    schema = pa.schema([dataset.schema.field(name) for name in names])
    read_at_once(groups, schema, {name: name for name in names}, pick)
    batches = [batch for _, batch in sorted(pieces, key=lambda piece: piece[0])]
    rows = pa.Table.from_batches(batches, schema)
    if (order[1:] > order[:-1]).all():
        return rows
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return take(rows, places)


def _has_any(ascending: NDArray[np.int64], first: int, count: int) -> bool:
    low, high = ascending.searchsorted([first, first + count])
    return bool(high > low)
