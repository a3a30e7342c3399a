"""Arrow rows as the values of an online store."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, Table
from vidtopics.layout import Field, KeySpace, Schema, encode, tombstones
from vidtopics.layout.values import Column
from vidtopics.materialization.changes import live
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
        )
    return ids, values


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
