"""Rows of a table as a reader gets them.

Values are made canonical straight from Arrow, not through the encoder of the online store: what it
gets wrong, parity must see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH
from vidtopics.layout import Field
from vidtopics.layout.schema import NUMBERS
from vidtopics.online.served import canonical
from vidtopics.tables.values import TOMBSTONE
from vidtopics.timestamps import microseconds


@dataclass(frozen=True)
class Part:
    """The rows of one batch.

    Attributes:
        arrays: entity, event, created, ended, and the group of data files that they came from.
        columns: per field uint8[N, k], canonical bytes.
        null: per field bool[N].
    """

    arrays: Sequence[NDArray[np.generic]]
    columns: Sequence[NDArray[np.uint8]]
    null: Sequence[NDArray[np.bool_]]

    @classmethod
    def of(
        cls,
        fields: Sequence[Field],
        places: Mapping[str, int],
        key: str,
        group: int,
        batch: pa.RecordBatch,
    ) -> Part:
        """From a batch with the key, the times, the hash and the fields.

        `places`: the entities' numbers by id.
        """
        entity = np.array([places[i] for i in batch[key].to_pylist()], np.int64)
        event, created = (microseconds(batch[name]) for name in (EVENT_TIME, CREATED_TIME))
        ended = batch[VALUE_HASH].to_numpy() == TOMBSTONE
        columns = [canonical(f, as_read(f, batch[f.name])) for f in fields]
        null = [batch[f.name].is_null().to_numpy(zero_copy_only=False) for f in fields]
        return cls((entity, event, created, ended, np.full(len(entity), group)), columns, null)


def as_read(field: Field, column: pa.Array) -> NDArray[np.generic]:
    """An Arrow column as a reader gets it: in the stored precision, padded where it is null.

    >>> weights = pa.array([[0.1, 1], None], pa.list_(pa.float32()))
    >>> as_read(Field("w", "float32", "slots", "float16", 2), weights).tolist()
    [[0.0999755859375, 1.0], [0.0, 0.0]]
    """
    if field.kind == "scalar":
        numbers = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        filled = numbers.fill_null(False if pa.types.is_boolean(column.type) else field.pad)
        return _stored(field, filled.to_numpy(zero_copy_only=False))
    if field.kind == "slots":
        values = field.empty(len(column))
        is_valid = column.is_valid().to_numpy(zero_copy_only=False)
        values[is_valid] = _stored(field, column.flatten().to_numpy(zero_copy_only=False)).reshape(
            -1, field.width
        )
        return values
    return _objects(_vectors(field, column) if field.type in NUMBERS else column.to_pylist())


def _vectors(field: Field, column: pa.Array) -> list[NDArray[np.generic]]:
    numbers = _stored(field, column.flatten().to_numpy(zero_copy_only=False))  # leaves nulls out
    ends = np.cumsum(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)).tolist()
    return [numbers[a:b] for a, b in pairwise([0, *ends])]


def _objects(values: Sequence[object]) -> NDArray[np.generic]:
    """object[N]; numpy alone would make lists of one length a matrix."""
    objects = np.empty(len(values), object)
    for i, value in enumerate(values):
        objects[i] = value
    return objects


def _stored(field: Field, numbers: NDArray[np.generic]) -> NDArray[np.generic]:
    return numbers.astype(NUMBERS[field.wire]).astype(NUMBERS[field.type])


def distinct(parts: Sequence[Part]) -> tuple[Part, NDArray[np.int64]]:
    """Rows of all parts without copies, and int64[M]: the row that each one became, in order.

    Copies are alike in entity, times and features.

    A compaction copies rows into other files, and a table may have another row under the same times
    later (UPDATE): these stay two.
    """
    arrays = [np.concatenate([p.arrays[i] for p in parts]) for i in range(5)]
    columns = [np.concatenate([p.columns[i] for p in parts]) for i in range(len(parts[0].columns))]
    null = [np.concatenate([p.null[i] for p in parts]) for i in range(len(parts[0].null))]
    # By bytes: int64[M] is uint8[M, 8].
    raw = np.hstack(
        [
            np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1)
            for a in (*arrays[:4], *columns, *null)
        ]
    )
    _, first, which = np.unique(
        raw.view(f"V{raw.shape[1]}").ravel(), return_index=True, return_inverse=True
    )
    columns, null = [c[first] for c in columns], [n[first] for n in null]
    return Part([a[first] for a in arrays], columns, null), which
