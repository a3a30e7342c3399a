"""Rows taken in parts are those that Arrow takes at once; and a column above 2^31 values."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.tables import taking
from vidtopics.tables.taking import take


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.randoms(), st.integers(1, 200))
def test_parts_and_chunks_change_no_row(lengths, random, largest):
    rows = pa.concat_tables(
        pa.table(
            {
                "video_id": pa.array([f"v{part}.{row}" for row in range(size)], pa.string()),
                "vector": pa.array([[part, row] for row in range(size)], pa.list_(pa.float32())),
                "title": pa.array([None] * size, pa.string()),
            }
        )
        for part, size in enumerate(lengths)
    )
    numbers = np.array([random.randrange(len(rows)) for _ in range(9 if len(rows) else 0)], int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taking, "LARGEST", largest)
        taken = take(rows, numbers)
    assert taken.schema == rows.schema
    assert taken.to_pylist() == [rows.slice(n, 1).to_pylist()[0] for n in numbers]


def test_a_column_of_more_than_2_to_31_values(tmp_path: Path):
    """Two chunks of 1.2 * 10^9 values, mapped from one sparse file."""
    rows, width = 520_000, 2_304
    values = np.memmap(tmp_path / "sparse", np.int8, mode="w+", shape=rows * width)
    values[-1] = 7
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    chunk = pa.ListArray.from_arrays(offsets, pa.array(values))
    vectors = pa.table({"vector": pa.chunked_array([chunk, chunk])})
    assert len(vectors) * width > 2**31
    taken = take(vectors, np.array([2 * rows - 1, 0, rows - 1]))["vector"]
    assert [vector[-1].as_py() for vector in taken] == [7, 0, 7]
