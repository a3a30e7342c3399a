"""Rows equal those of Arrow's own `take`, of any column type, as canonical arrays."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from list_columns import columns

from vidtopics.joins import payload, take_rows


@settings(max_examples=300)
@given(columns(), st.data())
def test_the_same_as_arrow_takes(column, data):
    at = np.array(data.draw(st.lists(st.integers(-1, len(column) - 1), max_size=12)), np.int64)
    rows = pa.table({"column": column, "number": np.arange(len(column))})
    rows_taken = take_rows(rows, at)
    assert rows_taken.schema == rows.schema
    assert rows_taken.equals(rows.take(pa.array(at, mask=at < 0)))
    rows_taken.validate(full=True)


def test_a_null_has_no_items():
    """Else the same join would give other bytes where Arrow's own `take` is used."""
    lists = take_rows(pa.table({"ids": [[1, 2], [3, 4]]}), np.array([1, -1, 0]))["ids"].chunk(0)
    assert lists.offsets.to_pylist() == [0, 2, 2, 4]
    assert lists.values.to_pylist() == [3, 4, 1, 2]


@pytest.mark.parametrize("rows", [[[1, 2], [3, 4]], [[1, 2], None]])
def test_lists_of_one_length_are_not_taken_an_item_at_a_time(rows, monkeypatch):
    """What the module is for: the gather is one of rows with a fixed width."""
    widths = []
    real = pa.FixedSizeListArray.from_arrays

    class Watched:
        @staticmethod
        def from_arrays(values, width):
            widths.append(width)
            return real(values, width)

    monkeypatch.setattr(payload.pa, "FixedSizeListArray", Watched)
    assert take_rows(pa.table({"ids": rows}), np.array([1, 0]))["ids"].to_pylist() == rows[::-1]
    assert widths == [2]


def test_nulls_that_hold_items_are_nulls_all_the_same():
    """As a file may have them; of an array that begins in the midst of another."""
    lists = pa.ListArray.from_arrays(
        [0, 2, 4, 6, 8], [0, 0, 1, 2, 3, 4, 5, 6], mask=pa.array([False, False, True, False])
    )[1:]
    assert take_rows(pa.table({"ids": lists}), np.array([2, 1, 0, -1]))["ids"].to_pylist() == [
        [5, 6],
        None,
        [1, 2],
        None,
    ]


@pytest.mark.parametrize(
    "rows", [[[1], [2, 3], [4, 5, 6]], [[1, 2], []], [[], [1, 2], None], [[1, 2], [3]]]
)
def test_lists_of_several_lengths_are_themselves(rows):
    at = np.arange(len(rows))[::-1].copy()
    assert (
        take_rows(pa.table({"ids": pa.array(rows, pa.list_(pa.int64()))}), at)["ids"].to_pylist()
        == rows[::-1]
    )


def test_results_past_32_bit_offsets_are_left_to_arrow(monkeypatch):
    monkeypatch.setattr(payload, "LARGEST", 3)
    assert take_rows(pa.table({"ids": [[1, 2]]}), np.array([0, 0]))["ids"].to_pylist() == [
        [1, 2],
        [1, 2],
    ]
