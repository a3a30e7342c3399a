"""The hash of a value: the definition's, wherever the value lies and whatever lies beside it."""

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.contracts import USER_RECENT_CLICKS, Column
from vidtopics.tables.schemas import ARROW
from vidtopics.tables.values import value_hash
from vidtopics.times import micros

lists = st.lists(st.lists(st.text("ab\0é", max_size=3), max_size=4), min_size=1, max_size=12)


def hashes(array: pa.Array) -> list[int]:
    table = replace(USER_RECENT_CLICKS, columns=(USER_RECENT_CLICKS.column("recent_video_ids"),))
    rows = {"recent_video_ids": array}
    return value_hash(table, pa.RecordBatch.from_pydict(rows)).tolist()


@given(lists, st.integers(0, 11))
def test_lists_of_texts_hash_alike_where_they_are_equal(values, start):
    array = pa.array(values, pa.list_(pa.string()))
    of_all = hashes(array)
    assert hashes(array.slice(start)) == of_all[start:]
    pairs = [(x, y) for x in range(len(values)) for y in range(x)]
    assert all((of_all[x] == of_all[y]) == (values[x] == values[y]) for x, y in pairs)


def oracle(table, rows) -> list[int]:
    """The definition, one value at a time: each part's length in 4 bytes and the part."""
    columns = [[part(c, v) for v in rows[c.name].to_pylist()] for c in table.hashed]
    digests = (
        blake2b(b"".join(len(p).to_bytes(4, "little") + p for p in parts), digest_size=8).digest()
        for parts in zip(*columns, strict=True)
    )
    return [int.from_bytes(digest, "little", signed=True) for digest in digests]


def part(column, value) -> bytes:
    number = {"float32": np.float32, "float64": np.float64}.get(column.type)
    if number and value is not None:
        return repr(float(np.round(number(value), 6) + number(0))).encode()
    if column.type == "list<string>":
        texts = [text.encode() for text in value or []]
        return b"".join([np.array([len(t) for t in texts], np.int32).tobytes(), *texts])
    if column.type == "list<int64>":
        return np.array(value or [], np.int64).tobytes()
    if column.type == "list<float32>":
        return (np.round(np.array(value or [], np.float32), 6) + np.float32(0)).tobytes()
    if column.type == "timestamp" and value is not None:
        return repr(micros(value)).encode()
    return repr(value).encode()


numbers = st.floats(-9, 9, width=32) | st.sampled_from([-0.0, 1e-9, 0.1 + 1e-9, 0.1])
VALUES = {
    "string": st.text("a'\"\\\0é\n", max_size=3),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2),
    "int32": st.integers(-2, 2),
    "float32": numbers,
    "float64": st.floats(allow_nan=False, allow_infinity=False) | numbers,
    "bool": st.booleans(),
    "timestamp": st.datetimes(datetime(1969, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    "date": st.dates(),
    "list<string>": st.lists(st.text("abé", max_size=2), max_size=2),
    "list<int64>": st.lists(st.integers(-2, 2), max_size=2),
    "list<float32>": st.lists(numbers, max_size=2),
}
COLUMNS = tuple(Column(f"c{i}", kind, "") for i, kind in enumerate(VALUES))
EVERY_TYPE = replace(USER_RECENT_CLICKS, key=(), columns=COLUMNS)
ROWS = st.lists(st.tuples(*(st.none() | values for values in VALUES.values())), max_size=6)


@given(ROWS, st.integers(0, 5))
def test_a_row_hashes_as_the_definition_says_in_any_batch(rows, start):
    schema = pa.schema([(c.name, ARROW[c.type]) for c in COLUMNS])
    columns = [pa.array([row[i] for row in rows], f.type) for i, f in enumerate(schema)]
    batch = pa.record_batch(columns, schema=schema)
    assert value_hash(EVERY_TYPE, batch).tolist() == oracle(EVERY_TYPE, batch)
    assert value_hash(EVERY_TYPE, batch.slice(start)).tolist() == oracle(EVERY_TYPE, batch)[start:]
