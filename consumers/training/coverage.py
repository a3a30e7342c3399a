"""How many rows of a join have a value of each view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import Table


class Coverage:
    """Counts rows as they pass; a row whose features of a view are all null has no value of it.

    Attributes:
        rows: that passed.
        present: by view, those with a value.

    >>> from vidtopics.contracts import VIDEO_STATISTICS
    >>> joined = pa.table({c.name: [7, None] for c in VIDEO_STATISTICS.values})
    >>> coverage = Coverage([VIDEO_STATISTICS])
    >>> _ = coverage.counting(joined.to_reader()).read_all()
    >>> coverage.rows, coverage.present
    (2, {'video_statistics': 1})
    """

    def __init__(self, views: Sequence[Table]) -> None:
        self._features = {view.name: [c.name for c in view.values] for view in views}
        self.rows = 0
        self.present = dict.fromkeys(self._features, 0)

    def counting(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """The same rows, counted when they are read."""
        return pa.RecordBatchReader.from_batches(rows.schema, self._count(rows))

    def _count(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.rows += batch.num_rows
            for view, names in self._features.items():
                valid = (pc.is_valid(batch.column(name)) for name in names)
                self.present[view] += pc.sum(reduce(pc.or_, valid)).as_py() or 0
            yield batch

    def shares(self) -> str:
        """In words: `video_topics 69%, video_statistics 0%`."""
        return ", ".join(
            f"{view} {count / max(self.rows, 1):.0%}" for view, count in self.present.items()
        )
