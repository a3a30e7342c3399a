"""Feature rows on disk, mapped into memory, of which a join takes the rows that it needs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.faults import naming
from vidtopics.joins import take_rows

BATCH_ROWS = 65_536


class Spill:
    """M rows in an Arrow file without a name, whose space is free when the process ends.

    Mapped pages are the system's cache, not the process's own memory: under pressure they are
    dropped and read again, so that rows wider than memory cost time and no more.

    Args:
        schema: the columns.
        batches: the rows, of which one batch is in memory at a time.
        folder: where the file lies; M rows uncompressed have to fit.

    >>> topics = pa.table({"topic_count": [3, 1, 8]})
    >>> spill = Spill(topics.schema, topics.to_batches(), Path(tempfile.gettempdir()))
    >>> spill.take(np.array([2, -1, 0])).to_pydict()
    {'topic_count': [8, None, 3]}
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], folder: Path) -> None:
        self.schema = schema
        with (
            naming(folder),
            tempfile.NamedTemporaryFile(dir=folder, prefix=".features-", suffix=".arrow") as file,
        ):
            with pa.ipc.new_file(file, schema) as writer:
                for batch in evenly(batches, BATCH_ROWS):
                    writer.write_batch(batch)
            file.flush()
            reader = pa.ipc.open_file(pa.memory_map(file.name))
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]

    def take(self, rows: NDArray[np.int64]) -> pa.Table:
        """The rows of these numbers, in their order; nulls for -1.

        Each batch of the file is touched once.
        """
        order = np.argsort(rows)
        ascending = rows[order]
        ends = np.searchsorted(ascending, np.arange(len(self._batches) + 1) * BATCH_ROWS)
        parts = [
            batch.take(pa.array(ascending[low:high] - i * BATCH_ROWS))
            for i, (batch, low, high) in enumerate(
                zip(self._batches, ends[:-1], ends[1:], strict=True)
            )
            if high > low
        ]
        place = np.empty(len(rows), np.int64)
        place[order] = np.maximum(
            np.arange(len(rows)) - ends[0], -1
        )  # what lies before the first end is -1
        return take_rows(pa.Table.from_batches(parts, self.schema), place)


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
