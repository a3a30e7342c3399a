"""Wide columns of a snapshot, a few rows at a time, on all cores.

Not through the dataset's own scanner: that decodes whole row groups, six times the memory and three
times the time for vectors; and one column, as vectors are, is decoded by one thread. So several row
groups are read at once (docs/adr/0029).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

READERS = 8
"""Row groups that are read at once at most: each costs some batches of memory."""
BATCH_BYTES = 1 << 22
BATCH_ROWS = (1 << 8, 1 << 16)
BUFFER = 1 << 20


@dataclass(frozen=True)
class RowGroup:
    """A row group of a data file; `first_row`: the number of its first row in the dataset."""

    fragment: ds.ParquetFileFragment
    number: int
    first_row: int
    rows: int

    def batches(
        self, schema: pa.Schema, columns: Mapping[str, str]
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The number of a batch's first row, and the batch as `schema` has it.

        Columns that the file lacks are partition values, or null.

        Args:
            schema: of the batches.
            columns: name in `schema` to column of the file.
        """
        first_row = self.first_row
        with self.fragment.open() as source:
            file = pq.ParquetFile(
                source, pre_buffer=False, buffer_size=BUFFER, coerce_int96_timestamp_unit="us"
            )
            for batch in group_batches(self.fragment, file, self.number, schema, columns):
                yield first_row, batch
                first_row += batch.num_rows


def group_batches(
    fragment: ds.ParquetFileFragment,
    file: pq.ParquetFile,
    number: int,
    schema: pa.Schema,
    columns: Mapping[str, str],
) -> Iterator[pa.RecordBatch]:
    """The rows of a row group of an open file, as :meth:`RowGroup.batches`."""
    partition = ds.get_partition_keys(fragment.partition_expression)
    names = file.schema_arrow.names
    stored = [name for name in dict.fromkeys(columns.values()) if name in names]
    size = _rows_of_a_batch(file.metadata.row_group(number), stored)
    for batch in file.iter_batches(size, row_groups=[number], columns=stored):
        values = [
            batch[column].cast(schema.field(name).type)
            if column in stored
            else _repeated(partition.get(column), schema.field(name).type, batch.num_rows)
            for name, column in columns.items()
        ]
        yield pa.record_batch(values, schema=schema)


def row_groups(dataset: ds.FileSystemDataset) -> Iterator[RowGroup]:
    """The row groups of all files, in the dataset's order."""
    first_row = 0
    for fragment in dataset.get_fragments():
        for group in fragment.row_groups:
            yield RowGroup(fragment, group.id, first_row, group.num_rows)
            first_row += group.num_rows


def batches_in_order(dataset: ds.Dataset) -> Iterator[pa.RecordBatch]:
    """All rows; those of files a few at a time, with nothing read ahead.

    Arrow's scanner decodes up to sixteen batches ahead, each a whole row group of wide rows: 1.2 GB
    of vectors of 2,304 (docs/adr/0044-training-out-of-core.md). Rows in memory come as they lie, up
    to 65,536 at a time.
    """
    if not isinstance(dataset, ds.FileSystemDataset):
        yield from dataset.to_batches(batch_size=BATCH_ROWS[1])
        return
    columns = {name: name for name in dataset.schema.names}
    for group in row_groups(dataset):
        yield from (batch for _, batch in group.batches(dataset.schema, columns))


def read_at_once(
    groups: Iterable[RowGroup],
    schema: pa.Schema,
    columns: Mapping[str, str],
    use: Callable[[pa.RecordBatch, int], None],
) -> None:
    """Call `use` for each batch and its first row's number, in any order and from any thread."""

    def read(group: RowGroup) -> None:
        for first_row, batch in group.batches(schema, columns):
            use(batch, first_row)

    with ThreadPoolExecutor(min(READERS, pa.cpu_count())) as threads:
        for _ in threads.map(read, groups):
            pass


def pick_rows(
    dataset: ds.FileSystemDataset,
    names: Sequence[str],
    numbers: NDArray[np.int64],
    use: Callable[[NDArray[np.int64], pa.RecordBatch], None],
) -> None:
    """Call `use` for rows by their numbers in a dataset: places in `numbers`, and those rows.

    Batch by batch, in any order and from any thread; row groups without one of them aren't read.

    Args:
        dataset: a version's rows.
        names: columns to read.
        numbers: int64[N], in any order and repeated or not.
        use: gets int64[M] and a batch of M rows.
    """
    order = np.argsort(numbers, kind="stable")
    ascending = numbers[order]

    def places_within(first_row: int, count: int) -> slice:
        return slice(*ascending.searchsorted([first_row, first_row + count]).tolist())

    def pick(batch: pa.RecordBatch, first_row: int) -> None:
        places = places_within(first_row, batch.num_rows)
        if places.start < places.stop:
            use(order[places], batch.take(pa.array(ascending[places] - first_row)))

    groups = (g for g in row_groups(dataset) if ascending[places_within(g.first_row, g.rows)].size)
    schema = pa.schema([dataset.schema.field(name) for name in names])
    read_at_once(groups, schema, {name: name for name in names}, pick)


def _rows_of_a_batch(group: pq.RowGroupMetaData, columns: list[str]) -> int:
    """Rows that fit a core's cache: larger batches take longer, not only more memory."""
    chunks = [group.column(i) for i in range(group.num_columns)]
    size: int = sum(
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema.partition(".")[0] in columns
    )
    least, most = BATCH_ROWS
    fitting: int = BATCH_BYTES * group.num_rows // max(size, 1)
    return max(least, min(most, fitting))


def _repeated(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)
