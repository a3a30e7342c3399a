"""The columns that a file may have, and the batches that the readers make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from vidtopics.ingest.csv_records import Ints


@dataclass(frozen=True)
class Columns:
    """The columns of a file: a missing required one is an error, a missing optional one is empty.

    `numbers` are those of numbers and of times that may be numbers, `measures` those in which NaN
    is a number that is refused; elsewhere it is a missing value. `times` are those of times, whose
    numbers count `parts_of_a_second`.

    `delivered` says what a file calls columns that have another name there; None: it has no such
    column, and its values are empty.
    """

    required: Sequence[str]
    optional: Sequence[str] = ()
    numbers: Sequence[str] = ()
    measures: Sequence[str] = ()
    times: Sequence[str] = ()
    delivered: Mapping[str, str | None] = field(default_factory=dict)
    parts_of_a_second: int = 1

    @property
    def names(self) -> list[str]:
        """All columns, required ones first."""
        return [*self.required, *self.optional]

    @property
    def names_in_file(self) -> dict[str, str]:
        """What a file calls each column that it may have.

        >>> delivered = {"title": "n", "cover": None}
        >>> columns = Columns(["video_id", "title", "cover"], delivered=delivered)
        >>> columns.names_in_file
        {'video_id': 'video_id', 'title': 'n'}
        """
        names = {name: self.delivered.get(name, name) for name in self.names}
        return {ours: theirs for ours, theirs in names.items() if theirs is not None}

    def places(self, header: Sequence[str]) -> dict[str, list[int]]:
        """The places in a header at which each column stands, in any case; of those that do.

        >>> Columns(["video_id", "title"], delivered={"title": "Name"}).places(["NAME", "title"])
        {'title': [0]}
        """
        folded = [name.casefold() for name in header]
        places = {
            ours: [i for i, name in enumerate(folded) if name == theirs.casefold()]
            for ours, theirs in self.names_in_file.items()
        }
        return {ours: indices for ours, indices in places.items() if indices}

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
