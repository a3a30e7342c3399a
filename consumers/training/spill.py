"""Feature rows on disk, mapped into memory, of which a join takes the rows that it needs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.faults import naming
from vidtopics.joins import Gather

BATCH_ROWS = 65_536
BATCH_BYTES = 1 << 25
LEAST_ROWS = 1 << 10


class Spill:
    """M rows in an Arrow file without a name, whose space is free when the process ends.

    Mapped pages are the system's cache, not the process's own memory: under pressure they are
    dropped and read again, so that rows wider than memory cost time and no more.

    `row_bytes`: what a row takes in memory, on average.

    Args:
        schema: the columns.
        fill: called once with a function that takes each batch and the number of its first row, in
            any order and from any thread.
        folder: where the file lies; M rows uncompressed have to fit.

    >>> topics = pa.record_batch({"topic_count": [3, 1, 8]})
    >>> folder = Path(tempfile.gettempdir())
    >>> spill = Spill(topics.schema, lambda write: write(topics, 0), folder)
    >>> spill.take(np.array([2, -1, 0])).to_pydict()
    {'topic_count': [8, None, 3]}
    """

    def __init__(
        self,
        schema: pa.Schema,
        fill: Callable[[Callable[[pa.RecordBatch, int], None]], None],
        folder: Path,
    ) -> None:
        self.schema = schema
        first_rows: list[int] = []
        sizes: list[tuple[int, int]] = []
        lock = Lock()
        with (
            naming(folder),
            tempfile.NamedTemporaryFile(dir=folder, prefix=".features-", suffix=".arrow") as file,
        ):
            with pa.ipc.new_file(file, schema) as writer:

                def write(batch: pa.RecordBatch, first_row: int) -> None:
                    with lock:
                        writer.write_batch(batch)
                        first_rows.append(first_row)
                        sizes.append((batch.num_rows, batch.nbytes))

                fill(write)
            file.flush()
            reader = pa.ipc.open_file(pa.memory_map(file.name))
        rows, size = (sum(column) for column in zip(*sizes, strict=True)) if sizes else (0, 0)
        self.row_bytes = size // max(rows, 1)
        self._batches = [(first, reader.get_batch(i)) for i, first in enumerate(first_rows)]

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """The rows of these numbers, in their order; nulls for -1.

        Each batch of the file is touched once.
        """
        gather = Gather(self.schema, rows)
        for first_row, batch in self._batches:
            gather.add(batch, first_row)
        return gather.table()


def rows_at_once(spills: Iterable[Spill]) -> int:
    """Rows of a batch of these features: `BATCH_ROWS`, fewer where they are wide."""
    row_bytes = sum(spill.row_bytes for spill in spills)
    return min(BATCH_ROWS, max(LEAST_ROWS, BATCH_BYTES // max(row_bytes, 1)))


def evenly(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `rows`, the last one shorter.

    >>> batches = pa.table({"x": range(7)}).to_batches(max_chunksize=3)
    >>> [batch.num_rows for batch in evenly(batches, 5)]
    [5, 2]
    """
    held: list[pa.RecordBatch] = []
    missing = rows
    for batch in batches:
        left = batch
        while left.num_rows:
            held.append(left.slice(0, missing))
            left = left.slice(missing)
            missing -= held[-1].num_rows
            if not missing:
                full, held, missing = pa.concat_batches(held), [], rows
                yield full
                del full  # or it would live until the next one is there
    if held:
        yield pa.concat_batches(held)
