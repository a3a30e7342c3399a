"""What the tables say of some entities: every row since the first version asked for, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from numpy.typing import NDArray

from consumers.parity.rows import Part, distinct
from consumers.parity.versions import Files, snapshots
from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.joins import latest
from vidtopics.layout import Field, Schema
from vidtopics.tables import Tables
from vidtopics.tables.scans import scan
from vidtopics.tables.whole import readable

BATCH = 8_192
Pattern = tuple[bool, ...]


@dataclass(frozen=True, eq=False)
class EntityRows:
    """M rows of C entities.

    Attributes:
        table_id: of the Delta table.
        versions: V versions that were looked at, ascending; the last is the table's latest.
        entity: int64[M], the place of each row's entity among those asked for.
        event_us: int64[M].
        created_us: int64[M].
        ended: bool[M], the row is a tombstone.
        held: bool[V, M], whether a version has the row.
        columns: per field uint8[M, k], canonical bytes.
        null: per field bool[M].
        entities: C.
    """

    table_id: str
    versions: Sequence[int]
    entity: NDArray[np.int64]
    event_us: NDArray[np.int64]
    created_us: NDArray[np.int64]
    ended: NDArray[np.bool_]
    held: NDArray[np.bool_]
    columns: Mapping[str, NDArray[np.uint8]]
    null: Mapping[str, NDArray[np.bool_]]
    entities: int

    @classmethod
    def read(
        cls,
        tables: Tables,
        table: Table,
        names: Sequence[str],
        ids: Sequence[str],
        versions: Iterable[int],
    ) -> EntityRows:
        """Fields `names` of `ids`; versions that can't be opened any more are left out.

        Raises:
            TableError: there is no table.
        """
        delta = tables.delta(table)
        opened = snapshots(delta, versions)
        where = ds.field(table.key[0]).isin(pa.array(ids, pa.string()))
        wanted = [table.key[0], EVENT_TIME, CREATED_TIME, VALUE_HASH, *names]
        fields = [f for f in Schema.of(table).fields if f.name in names]
        places = {name: i for i, name in enumerate(ids)}
        patterns: list[Pattern] = []
        parts: list[Part] = []
        with readable(table):
            for pattern, files in _files_by_versions(delta, opened):
                reader = files.scanner(
                    columns=wanted, batch_size=BATCH, batch_readahead=1, fragment_readahead=1
                )
                # Not filtered in the files: what delta-rs wrote for an UPDATE has bounds that Arrow
                # doesn't compare with text.
                batches = ds.Scanner.from_batches(
                    reader.to_reader(), filter=where, batch_size=BATCH
                ).to_batches()
                parts += [
                    Part.of(fields, places, table.key[0], len(patterns), batch)
                    for batch in batches
                    if batch.num_rows
                ]
                patterns.append(pattern)
        return cls(
            str(delta.metadata().id),
            list(opened),
            *_row_arrays(fields, parts, patterns, len(opened)),
            len(ids),
        )

    @cached_property
    def times(self) -> tuple[dict[tuple[int, int, int], int], NDArray[np.int64]]:
        """The last row of each (entity, event, created), and int64[M]: the row before it.

        Rows with the same times form a chain; -1 ends it.
        """
        keys = zip(
            self.entity.tolist(), self.event_us.tolist(), self.created_us.tolist(), strict=True
        )
        last_row: dict[tuple[int, int, int], int] = {}
        previous_row = np.full(len(self.entity), -1)
        for row, key in enumerate(keys):
            previous_row[row] = last_row.get(key, -1)
            last_row[key] = row
        return last_row, previous_row

    @cached_property
    def winners(self) -> NDArray[np.int64]:
        """int64[V, C]: the last-writer-wins row of each version, -1 where an entity has none."""
        winners = np.full((len(self.versions), self.entities), -1)
        for version in range(len(self.versions)):
            rows = np.flatnonzero(self.held[version])
            keys = pa.table({"entity": self.entity[rows]})
            best = rows[latest(keys, self.event_us[rows], self.created_us[rows])]
            winners[version, self.entity[best]] = best
        return winners

    def later(self, rows: NDArray[np.int64], than: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n]: whether rows have a later (event, created) than others."""
        event, created = self.event_us, self.created_us
        same = event[rows] == event[than]
        is_later: NDArray[np.bool_] = (event[rows] > event[than]) | (
            same & (created[rows] > created[than])
        )
        return is_later


def _files_by_versions(
    delta: DeltaTable, opened: Mapping[int, Files]
) -> Iterator[tuple[Pattern, ds.Dataset]]:
    """Data files that the same versions have, and per version whether it does."""
    paths_of: dict[Pattern, list[str]] = defaultdict(list)
    for path in sorted(frozenset().union(*opened.values())):
        paths_of[tuple(path in files for files in opened.values())].append(path)
    whole = scan(delta)
    for pattern, paths in paths_of.items():
        files = [whole.format.make_fragment(path, whole.filesystem) for path in paths]
        yield pattern, ds.FileSystemDataset(files, whole.schema, whole.format, whole.filesystem)


def _row_arrays(
    fields: Sequence[Field], parts: Sequence[Part], patterns: Sequence[Pattern], versions: int
) -> tuple[
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.bool_],
    NDArray[np.bool_],
    dict[str, NDArray[np.uint8]],
    dict[str, NDArray[np.bool_]],
]:
    names = [f.name for f in fields]
    if not parts:
        none = np.empty(0, np.int64)
        return (
            none,
            none,
            none,
            np.empty(0, np.bool_),
            np.empty((versions, 0), np.bool_),
            {name: np.empty((0, 0), np.uint8) for name in names},
            {name: np.empty(0, np.bool_) for name in names},
        )
    rows, which = distinct(parts)
    entity, event, created = (a.astype(np.int64) for a in rows.arrays[:3])
    ended = rows.arrays[3].astype(np.bool_)
    group = np.concatenate([p.arrays[-1] for p in parts])
    held = np.zeros((versions, len(entity)), np.bool_)
    for i, pattern in enumerate(patterns):
        held[np.ix_(np.flatnonzero(pattern), which[group == i])] = True
    columns, null = (
        dict(zip(names, rows.columns, strict=True)),
        dict(zip(names, rows.null, strict=True)),
    )
    return entity, event, created, ended, held, columns, null
