"""What the tables say of some entities: every row that they ever had, and at which version it came.

Values are made canonical straight from Arrow, not through the encoder of the online store: what it gets wrong, parity must see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.joins import latest
from vidtopics.layout import Field, Schema
from vidtopics.layout.schema import NUMBERS
from vidtopics.online.served import canonical
from vidtopics.tables import Tables
from vidtopics.tables.scans import scan
from vidtopics.tables.values import TOMBSTONE

BATCH = 8_192


@dataclass(frozen=True, eq=False)
class History:
    """M rows of C entities.

    Attributes:
        table_id: of the Delta table.
        versions: V versions that were looked at, ascending; the last is the table's latest.
        entity: int64[M], the place of each row's entity among those asked for.
        event_us: int64[M].
        created_us: int64[M].
        arrival: int64[M], the first of `versions` that has the row, as a place in it.
        ended: bool[M], the row is a tombstone.
        columns: per field uint8[M, k], canonical bytes.
        null: per field bool[M].
        entities: C.
    """

    table_id: str
    versions: Sequence[int]
    entity: NDArray[np.int64]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    arrival: NDArray[np.int64]
    ended: NDArray[np.bool_]
    columns: Mapping[str, NDArray[np.uint8]]
    null: Mapping[str, NDArray[np.bool_]]
    entities: int

    @classmethod
    def read(
        cls, tables: Tables, table: Table, names: Sequence[str], ids: Sequence[str], versions: Iterable[int]
    ) -> History:
        """Fields `names` of `ids`; versions that can't be opened any more are left out. TableError where there is no table."""
        delta = tables.delta(table)
        opened = _open(delta, versions)
        where = ds.field(table.key[0]).isin(pa.array(ids, pa.string()))
        wanted = [table.key[0], EVENT_TIME, CREATED_TIME, VALUE_HASH, *names]
        fields = [f for f in Schema.of(table).fields if f.name in names]
        places = {name: i for i, name in enumerate(ids)}
        parts = [
            _Part.of(fields, places, table.key[0], place, batch)
            for place, files in _arrivals(delta, opened)
            for batch in files.to_batches(
                columns=wanted, filter=where, batch_size=BATCH, batch_readahead=1, fragment_readahead=1
            )
        ]
        return cls(str(delta.metadata().id), [d.version() for d in opened], *_joined(fields, parts), len(ids))

    def times(self) -> dict[tuple[int, int, int], int]:
        """The row of each (entity, event, created); of copies that a compaction made, the first."""
        keys = zip(self.entity.tolist(), self.event_us.tolist(), self.created_us.tolist(), strict=True)
        found: dict[tuple[int, int, int], int] = {}
        for row, key in enumerate(keys):
            found.setdefault(key, row)
        return found

    @cached_property
    def winners(self) -> NDArray[np.int64]:
        """int64[V, C]: the row that last-writer-wins picks at each version, -1 where the entity has none."""
        found = np.full((len(self.versions), self.entities), -1)
        for version in range(len(self.versions)):
            rows = np.flatnonzero(self.arrival <= version)
            keys = pa.table({"entity": self.entity[rows]})
            best = rows[latest(keys, self.event_us[rows], self.created_us[rows])]
            found[version, self.entity[best]] = best
        return found

    def later(self, rows: NDArray[np.int64], than: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: whether rows have a later (event, created) than others."""
        event, created = self.event_us, self.created_us
        same = event[rows] == event[than]
        found: NDArray[np.bool_] = (event[rows] > event[than]) | (same & (created[rows] > created[than]))
        return found


@dataclass(frozen=True)
class _Part:
    """The rows of one batch."""

    arrays: Sequence[NDArray[np.generic]]
    columns: Sequence[NDArray[np.uint8]]
    null: Sequence[NDArray[np.bool_]]

    @classmethod
    def of(
        cls, fields: Sequence[Field], places: Mapping[str, int], key: str, place: int, batch: pa.RecordBatch
    ) -> _Part:
        entity = np.array([places[i] for i in batch[key].to_pylist()], np.int64)
        event, created = (batch[name].cast(pa.int64()).to_numpy() for name in (EVENT_TIME, CREATED_TIME))
        ended = batch[VALUE_HASH].to_numpy() == TOMBSTONE
        arrival = np.full(len(entity), place)
        columns = [canonical(f, as_read(f, batch[f.name])) for f in fields]
        null = [batch[f.name].is_null().to_numpy(zero_copy_only=False) for f in fields]
        return cls((entity, event, created, arrival, ended), columns, null)


def as_read(field: Field, column: pa.Array) -> NDArray[np.generic]:
    """An Arrow column as a reader gets it: in the precision that is stored, padding where there is none.

    >>> as_read(Field("w", "float32", "slots", "float16", 2), pa.array([[0.1, 1], None], pa.list_(pa.float32()))).tolist()
    [[0.0999755859375, 1.0], [0.0, 0.0]]
    """
    if field.kind == "scalar":
        numbers = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        filled = numbers.fill_null(False if pa.types.is_boolean(column.type) else field.pad)
        return _stored(field, filled.to_numpy(zero_copy_only=False))
    if field.kind == "slots":
        found = field.empty(len(column))
        there = column.is_valid().to_numpy(zero_copy_only=False)
        found[there] = _stored(field, column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, field.width)
        return found
    return _objects(_vectors(field, column) if field.type in NUMBERS else column.to_pylist())


def _vectors(field: Field, column: pa.Array) -> list[NDArray[np.generic]]:
    numbers = _stored(field, column.flatten().to_numpy(zero_copy_only=False))  # leaves nulls out
    ends = np.cumsum(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)).tolist()
    return [numbers[a:b] for a, b in pairwise([0, *ends])]


def _objects(values: Sequence[object]) -> NDArray[np.generic]:
    """object[N]; numpy alone would make lists of one length a matrix."""
    found = np.empty(len(values), object)
    for i, value in enumerate(values):
        found[i] = value
    return found


def _stored(field: Field, numbers: NDArray[np.generic]) -> NDArray[np.generic]:
    return numbers.astype(NUMBERS[field.wire]).astype(NUMBERS[field.type])


def _open(delta: DeltaTable, versions: Iterable[int]) -> list[DeltaTable]:
    """The versions that can be opened, ascending, and the latest."""
    found = []
    for version in sorted(set(versions) - {delta.version()}):
        try:
            found.append(DeltaTable(delta.table_uri, version=version))
        except DeltaError:
            continue
    return [*(d for d in found if d.version() < delta.version()), delta]


def _arrivals(delta: DeltaTable, opened: Sequence[DeltaTable]) -> Iterator[tuple[int, ds.Dataset]]:
    """For each version the data files that none before it had."""
    schema, seen = scan(delta).schema, set[str]()
    for place, version in enumerate(opened):
        dataset = scan(version)
        fresh = [f for f in dataset.get_fragments() if unquote(f.path) not in seen]
        seen |= {unquote(f.path) for f in fresh}
        yield place, ds.FileSystemDataset(fresh, schema, dataset.format, dataset.filesystem)


def _joined(
    fields: Sequence[Field], parts: Sequence[_Part]
) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_],
    dict[str, NDArray[np.uint8]], dict[str, NDArray[np.bool_]],
]:  # fmt: skip
    if not parts:
        none = np.empty(0, np.int64)
        names = [f.name for f in fields]
        return (
            none, none, none, none, np.empty(0, np.bool_),
            {name: np.empty((0, 0), np.uint8) for name in names}, {name: np.empty(0, np.bool_) for name in names},
        )  # fmt: skip
    entity, event, created, arrival, ended = (np.concatenate([p.arrays[i] for p in parts]) for i in range(5))
    columns = {f.name: np.concatenate([p.columns[i] for p in parts]) for i, f in enumerate(fields)}
    null = {f.name: np.concatenate([p.null[i] for p in parts]) for i, f in enumerate(fields)}
    return entity, event, created, arrival, ended.astype(np.bool_), columns, null
