"""The columns that a file may have, and the batches that the readers make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from vidtopics.ingest.csv_records import Ints


@dataclass(frozen=True)
class Columns:
    """The columns of a file: a missing required one is an error, a missing optional one is empty.

    `numbers` are those of numbers and of times that may be numbers, `measures` those in which NaN
    is a number that is refused; elsewhere it is a missing value.
    """

    required: Sequence[str]
    optional: Sequence[str] = ()
    numbers: Sequence[str] = ()
    measures: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """All columns, required ones first."""
        return [*self.required, *self.optional]

    @property
    def ids(self) -> list[str]:
        """The columns of ids.

        >>> Columns(["movieId", "title"], ["event_id"]).ids
        ['movieId', 'event_id']
        """
        return [name for name in self.names if name.casefold().endswith("id")]

    @property
    def schema(self) -> pa.Schema:
        """The schema of the batches that a reader gives."""
        texts = [(name, pa.string()) for name in ("reason", "detail", *self.names)]
        return pa.schema([("row", pa.int64()), *texts])

    def batch(self, rows: Ints, fields: Mapping[str, pa.Array]) -> pa.RecordBatch:
        """A batch of the schema; columns not in `fields` are empty, `reason` and `detail` null."""
        empty = {name: pa.repeat("", len(rows)) for name in self.names}
        null = {name: pa.nulls(len(rows), pa.string()) for name in ("reason", "detail")}
        return pa.RecordBatch.from_pydict(
            {**null, **empty, **fields, "row": pa.array(rows)}, schema=self.schema
        )
