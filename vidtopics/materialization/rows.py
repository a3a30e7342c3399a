"""Arrow rows as the values of an online store."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.layout import Field, KeySpace, Schema, encode, tombstones
from vidtopics.layout.values import Column
from vidtopics.materialization.changes import live
from vidtopics.tables.scans import scan
from vidtopics.tables.values import TOMBSTONE
from vidtopics.tables.whole import readable
from vidtopics.timestamps import microseconds


def encoded(
    table: Table, schema: Schema, space: KeySpace, batch: pa.RecordBatch
) -> tuple[list[bytes], list[bytes]]:
    """Ids and values of a batch of a view's rows; tombstones become headers."""
    ids: list[bytes] = []
    values: list[bytes] = []
    alive = live(batch, table)
    for part, ended in (
        (batch.filter(pa.array(alive)), False),
        (batch.filter(pa.array(~alive)), True),
    ):
        if not part.num_rows:
            continue
        names = [name.encode() for name in part[table.key[0]].to_pylist()]
        event, created = (microseconds(part[name]) for name in (EVENT_TIME, CREATED_TIME))
        fingerprints = space.fingerprints(names)
        ids += names
        if ended:
            values += tombstones(schema, fingerprints, event, created)
            continue
        null = {
            f.name: pc.is_null(part[f.name]).to_numpy(zero_copy_only=False) for f in schema.fields
        }
        columns = {f.name: _column(f, part[f.name], null[f.name]) for f in schema.fields}
        values += encode(
            schema,
            columns,
            fingerprints=fingerprints,
            event_us=event,
            created_us=created,
            null=null,
            ids=names,
        )
    return ids, values


def sized_schema(table: Table, delta: DeltaTable, names: Collection[str] | None) -> Schema:
    """The schema of a view with the widths of the row known last in some data files.

    A change of width is another schema, and so a new generation; a single row of another width is
    refused by name when it is encoded. `names`: of the files; None: all of the snapshot.
    """
    schema = Schema.of(table)
    vectors = [f.name for f in schema.fields if f.kind == "vector"]
    if not vectors:
        return schema
    scanned, alive = scan(delta), pc.field(VALUE_HASH) != TOMBSTONE
    parts = [f for f in scanned.get_fragments() if names is None or unquote(f.path) in names]
    dataset = ds.FileSystemDataset(parts, scanned.schema, scanned.format, scanned.filesystem)
    with readable(table, delta.version()):
        created = dataset.to_table([CREATED_TIME], filter=alive)[CREATED_TIME]
        if not len(created):
            return schema
        last = alive & (pc.field(CREATED_TIME) == pc.max(created))
        row = dataset.filter(last).head(1, columns=vectors).to_pylist()[0]
    return schema.sized({name: len(vector) for name, vector in row.items() if vector})


def _column(field: Field, column: pa.Array, null: NDArray[np.bool_]) -> Column:
    """An Arrow column as :func:`encode` takes it, padding where it is null."""
    if field.kind in {"bytes", "list"} and field.type in {"string", "bytes"}:
        texts: list[object] = column.to_pylist()
        return texts
    if field.kind == "scalar":
        plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        filled = plain.fill_null(field.pad if plain.type != pa.bool_() else False)
        return filled.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    lengths = pc.unique(pc.list_value_length(column).drop_null()).to_pylist()
    if field.kind == "list" or len(lengths) > 1:
        lists: list[object] = column.to_pylist()
        return lists
    flat = column.flatten().to_numpy(zero_copy_only=False)  # leaves nulls out
    width = lengths[0] if lengths else field.width
    slots = np.full((len(column), width), field.pad, flat.dtype)
    slots[~null] = flat.reshape(int((~null).sum()), width)
    return slots
