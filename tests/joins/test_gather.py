"""Rows gathered from batches equal those that Arrow takes from the whole table."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from list_columns import columns

from vidtopics.joins import Gather, gather


def gathered(rows, at, batch_rows, order=None):
    batches = list(enumerate(rows.to_batches(max_chunksize=batch_rows)))
    firsts = np.cumsum([0, *(batch.num_rows for _, batch in batches)])
    made = Gather(rows.schema, at)
    for i, batch in order(batches) if order else batches:
        made.add(batch, int(firsts[i]))
    table = made.table()
    table.validate(full=True)
    return table


@settings(max_examples=400)
@given(columns(), st.integers(1, 4), st.data())
def test_the_same_as_arrow_takes_whatever_the_batches(column, size, data):
    at = np.array(data.draw(st.lists(st.integers(-1, len(column) - 1), max_size=12)), np.int64)
    rows = pa.table({"column": column, "number": np.arange(len(column))})
    made = gathered(rows, at, size, lambda batches: data.draw(st.permutations(batches)))
    assert made.schema == rows.schema
    assert made.to_pylist() == rows.take(pa.array(at, mask=at < 0)).to_pylist()


def test_a_list_is_copied_once_and_a_null_has_no_items(monkeypatch):
    """What the module is for: nothing is taken, and the result lies in one buffer."""

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(gather, "take_rows", refuse)
    lists = pa.table({"ids": pa.array([[1, 2], None, [3, 4], [5, 6]], pa.list_(pa.int64()))})
    made = gathered(lists, np.array([3, -1, 0, 1, 3]), 2)["ids"]
    (chunk,) = made.chunks
    assert chunk.to_pylist() == [[5, 6], None, [1, 2], None, [5, 6]]
    assert chunk.offsets.to_pylist() == [0, 2, 2, 4, 4, 6]
    assert chunk.values.to_pylist() == [5, 6, 1, 2, 5, 6]


def test_nulls_among_many_rows_leave_the_others_in_order(monkeypatch):
    monkeypatch.setattr(gather, "MOVED_AT_ONCE", 3)
    plain = [None if i % 3 == 1 else [i, -i] for i in range(50)]
    rows = pa.table({"ids": pa.array(plain, pa.list_(pa.int32()))})
    at = np.random.default_rng(1).integers(-1, 50, 200)
    made = gathered(rows, at, 7)["ids"].to_pylist()
    assert made == [plain[i] if i >= 0 else None for i in at]


def test_a_chunk_has_no_more_items_than_its_offsets_count(monkeypatch):
    monkeypatch.setattr(gather, "LARGEST", 4)
    made = gathered(pa.table({"ids": [[1, 2], [3, 4]]}), np.array([1, 0, -1, 1, 0]), 1)["ids"]
    assert [chunk.to_pylist() for chunk in made.chunks] == [
        [[3, 4], [1, 2]],
        [None, [3, 4]],
        [[1, 2]],
    ]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_a_batch_with_lists_of_another_length_is_taken_beside_the_others(order):
    plain = [[1, 2], [3, 4], [5], [6], [7, 8, 9], None]
    rows = pa.table({"ids": pa.array(plain, pa.list_(pa.int64()))})
    at = np.array([4, 0, 2, -1, 1, 5, 2])
    made = gathered(rows, at, 2, lambda batches: [batches[i] for i in order])
    assert made["ids"].to_pylist() == [plain[i] if i >= 0 else None for i in at]


def test_only_what_is_asked_for_is_needed():
    made = Gather(pa.schema([("x", pa.int64())]), np.array([7, -1, 3]))
    assert [made.needs(first, 2) for first in range(9)] == [
        first in {2, 3, 6, 7} for first in range(9)
    ]
