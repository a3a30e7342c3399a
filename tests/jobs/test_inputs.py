"""Columns of vectors above 2^31 values: mapped from sparse files, so that they take no memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.jobs import inputs
from vidtopics.jobs.inputs import group_tags, lists, vectors

ROWS, WIDTH = 1_000_000, 2_304
"""2.3 * 10^9 values: offsets of 32 bits would wrap to -1,990,967,296."""


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:
    return np.memmap(tmp_path / "sparse", np.int8, mode="w+", shape=(ROWS, WIDTH))


def test_lists_above_32_bits_come_in_chunks(mapped):
    mapped[[0, 932_067, ROWS - 1], -1] = 1, 2, 3
    column = lists(mapped)
    assert [len(chunk) for chunk in column.chunks] == [466_033, 466_033, 67_934]
    assert [chunk.offsets[-1].as_py() for chunk in column.chunks] == [
        466_033 * WIDTH,
        466_033 * WIDTH,
        67_934 * WIDTH,
    ]
    assert all(column[row][-1].as_py() == i + 1 for i, row in enumerate((0, 932_067, ROWS - 1)))


def test_vectors_of_any_rows_are_read_from_a_column_above_32_bits(mapped):
    numbers = np.array([ROWS - 1, 0, 932_067, ROWS - 1])
    mapped[numbers, 7] = 3, 1, 2, 3
    picked = vectors(lists(mapped), rows=numbers)
    assert picked.shape == (4, WIDTH)
    assert picked[:, 7].tolist() == [3, 1, 2, 3]
    assert picked.sum() == 9


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 3), st.randoms())
def test_chunks_and_order_change_no_value(lengths, width, random):
    rows = np.arange(sum(lengths) * width, dtype=np.float32).reshape(-1, width)
    parts = np.split(rows, np.cumsum(lengths)[:-1])
    column = pa.chunked_array([lists(part) for part in parts])
    assert np.array_equal(vectors(column, width), rows)
    if len(rows):
        numbers = np.array([random.randrange(len(rows)) for _ in range(7)])
        assert np.array_equal(vectors(column, rows=numbers), rows[numbers])


def test_a_column_of_many_chunks_is_what_it_was(monkeypatch):
    monkeypatch.setattr(inputs, "CHUNK_VALUES", 6)
    rows = np.arange(15, dtype=np.float32).reshape(5, 3)
    column = lists(rows)
    assert [len(chunk) for chunk in column.chunks] == [2, 2, 1]
    assert np.array_equal(vectors(column), rows)
    assert lists(rows[:0]).type == column.type


def test_offsets_of_tags_are_of_64_bits():
    pairs = pa.table({"video_id": ["b", "a", "c"], "tag": ["y", "z", "x"]})
    kind = group_tags(pairs, pa.chunked_array([["a", "b"]])).type
    assert kind == pa.large_list(pa.large_string())
