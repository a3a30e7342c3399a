"""Rows of a Delta snapshot in two steps: keys and times of all, payload of those that matched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from vidtopics.errors import TableError, explain
from vidtopics.joins import Gather
from vidtopics.tables.pins import NEVER
from vidtopics.tables.row_groups import read_at_once, row_groups
from vidtopics.timestamps import microseconds, not_timestamps


@dataclass(frozen=True)
class SnapshotRows:
    """M rows: keys and times, and where their payload lies.

    `keys`: pa.Table[M]; `event`, `created`: int64[M] microseconds; `place`: int64[M] in `dataset`,
    ascending.
    """

    dataset: ds.FileSystemDataset
    keys: pa.Table
    event: NDArray[np.int64]
    created: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def read(
        cls,
        dataset: ds.FileSystemDataset,
        keys: Mapping[str, str],
        event: str,
        created: str | None,
        *,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> SnapshotRows:
        """Keys (name to column) and times of the rows with since <= event <= until.

        Rows without an event time are left out.

        Files and row groups that lie outside by their statistics aren't opened. Without a created
        column the event time stands for it.
        """
        where = between(dataset, event, since_us, until_us)
        kept = _pruned(dataset, where)
        columns = {f"key {name}": ds.field(column) for name, column in keys.items()}
        times = {"event": ds.field(event), "created": ds.field(created or event)}
        snapshot_rows = kept.to_table(columns={**columns, **times})
        event_us, created_us = (
            microseconds(snapshot_rows[name], null_us=NEVER) for name in ("event", "created")
        )
        inside = event_us > NEVER
        if since_us is not None:
            inside &= event_us >= since_us
        if until_us is not None:
            inside &= event_us <= until_us
        key_table = (
            snapshot_rows.select(list(columns)).rename_columns(list(keys))
            if keys
            else _one_key(len(snapshot_rows))
        )
        return cls(
            kept, key_table, event_us, created_us, np.arange(len(snapshot_rows), dtype=np.int64)
        ).restricted_to(inside)

    def with_created(self) -> SnapshotRows:
        """The rows of which it is known when they became known."""
        return self.restricted_to(self.created > NEVER)

    def payload(self, at: NDArray[np.int64], columns: Mapping[str, str]) -> pa.Table:
        """Columns (name to column) of the rows `at` int64[N], in that order; null where it is -1.

        Only row groups with such a row are read, several at a time, and only such rows are held.
        """
        schema = pa.schema(
            [
                self.dataset.schema.field(column).with_name(name).with_nullable(True)
                for name, column in columns.items()
            ]
        )
        gather = Gather(schema, np.where(at < 0, -1, self.place[at]) if len(self.place) else at)
        needed = [g for g in row_groups(self.dataset) if gather.needs(g.first_row, g.rows)]
        read_at_once(needed, schema, columns, gather.add)
        return gather.table()

    def restricted_to(self, kept: NDArray[np.bool_]) -> SnapshotRows:
        """Those of the rows that a mask bool[M] names."""
        if kept.all():
            return self
        return SnapshotRows(
            self.dataset,
            self.keys.filter(pa.array(kept)),
            self.event[kept],
            self.created[kept],
            self.place[kept],
        )


def between(
    dataset: ds.Dataset, event: str, since_us: int | None, until_us: int | None
) -> ds.Expression | None:
    """Since <= event <= until, for statistics and for filters."""
    kind = dataset.schema.field(event).type
    if not pa.types.is_timestamp(kind):
        raise not_timestamps(event, kind)
    zone, tests = kind.tz, []
    if since_us is not None:
        tests.append(ds.field(event) >= _scalar(since_us, zone))
    if until_us is not None:
        tests.append(ds.field(event) <= _scalar(until_us, zone))
    return tests[0] & tests[-1] if tests else None


def fitted(column: pa.ChunkedArray, kind: pa.DataType, where: str) -> pa.ChunkedArray:
    """A column in the table's type; TableError where it is of another family or doesn't fit.

    Text is never taken for a number ("01" is another key than 1), nor a number for a time; 64-bit
    floats are rounded to 32 bits.
    """
    found = str(column.type)
    try:
        if column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(column), kind)])
        if _same_family(column.type, kind):
            return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        found = f"{found}: {error}"
    raise TableError(
        explain(
            where,
            expected=f"values that are {kind}, as in the table",
            found=found,
            mend="convert the column",
        )
    )


def _same_family(column_type: pa.DataType, kind: pa.DataType) -> bool:
    """Whether two types are of one family, nested ones in all parts.

    Nulls are of every family, and a day is an instant.
    """
    if pa.types.is_dictionary(column_type):
        column_type = column_type.value_type
    if pa.types.is_null(column_type) or (
        pa.types.is_date(column_type) and pa.types.is_timestamp(kind)
    ):
        return True
    if _family(column_type) != _family(kind) or column_type.num_fields != kind.num_fields:
        return False
    return all(
        _same_family(column_type.field(i).type, kind.field(i).type)
        for i in range(column_type.num_fields)
    )


def _family(kind: pa.DataType) -> str:
    of = pa.types
    families = {
        "number": of.is_integer(kind) or of.is_floating(kind) or of.is_decimal(kind),
        "text": of.is_string(kind) or of.is_large_string(kind) or of.is_string_view(kind),
        "bytes": of.is_binary(kind)
        or of.is_large_binary(kind)
        or of.is_binary_view(kind)
        or of.is_fixed_size_binary(kind),
        "bool": of.is_boolean(kind),
        "instant": of.is_timestamp(kind),
        "day": of.is_date(kind),
        "time of day": of.is_time(kind),
        "list": of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind),
    }
    return next((name for name, belongs in families.items() if belongs), type(kind).__name__)


def require(dataset: ds.Dataset, columns: Iterable[str], where: str) -> None:
    """TableError that names the columns that the table lacks."""
    missing = [name for name in columns if name not in dataset.schema.names]
    if missing:
        raise TableError(
            explain(
                where,
                expected=f"the columns {', '.join(missing)}",
                found=", ".join(dataset.schema.names),
                mend="correct the view's fields, or timestamp_field, created_timestamp_column and "
                "field_mapping of its source",
            )
        )


def _pruned(dataset: ds.FileSystemDataset, where: ds.Expression | None) -> ds.FileSystemDataset:
    """The row groups that may hold such a row, whole: a row filter would lose the rows' places."""
    if where is None:
        return dataset
    fragments = [
        f.subset(filter=where, schema=dataset.schema) for f in dataset.get_fragments(where)
    ]
    return ds.FileSystemDataset(
        [f for f in fragments if f.row_groups], dataset.schema, dataset.format, dataset.filesystem
    )


def _one_key(rows: int) -> pa.Table:
    """The key of a view without entities: all its rows are of one."""
    return pa.table({"": np.zeros(rows, np.int8)})


def _scalar(us: int, zone: str | None) -> pa.Scalar:
    return pa.scalar(us, pa.int64()).cast(pa.timestamp("us", zone))
