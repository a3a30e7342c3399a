"""Row groups of a dataset are read several at once, each a few rows at a time."""

import threading

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from vidtopics.tables import row_groups as module
from vidtopics.tables.row_groups import batches_in_order, read_at_once, row_groups
from vidtopics.tables.scans import row_groups_with

SCHEMA = pa.schema([("n", pa.int64()), ("day", pa.string()), ("later", pa.int32())])


@pytest.fixture
def dataset(tmp_path):
    """Two days of two row groups each; no file has the column `later`."""
    for day in ("a", "b"):
        (tmp_path / f"day={day}").mkdir()
        numbers = pa.table({"n": np.arange(4) + 10 * (day == "b")})
        pq.write_table(numbers, tmp_path / f"day={day}" / "part.parquet", row_group_size=2)
    return ds.dataset(tmp_path, schema=SCHEMA, partitioning=ds.partitioning(flavor="hive"))


def test_each_batch_has_the_number_of_its_first_row(dataset, monkeypatch):
    monkeypatch.setattr(module, "BATCH_ROWS", (1, 1))
    columns = {"number": "n", "day": "day", "later": "later"}
    schema = pa.schema([("number", pa.int64()), ("day", pa.string()), ("later", pa.int32())])
    rows = {}
    read_at_once(
        row_groups(dataset),
        schema,
        columns,
        lambda batch, first: rows.update({first + i: r for i, r in enumerate(batch.to_pylist())}),
    )
    expected = dataset.to_table().rename_columns(schema.names).to_pylist()
    assert [rows[i] for i in range(8)] == expected
    assert expected[4] == {"number": 10, "day": "b", "later": None}


def test_rows_in_order_are_decoded_when_they_are_asked_for(dataset, monkeypatch):
    monkeypatch.setattr(module, "BATCH_ROWS", (1, 1))
    decoded, batches = [], module.RowGroup.batches

    def noted(group, *arguments):
        decoded.append(group.first_row)
        return batches(group, *arguments)

    monkeypatch.setattr(module.RowGroup, "batches", noted)
    rows = []
    for number, batch in enumerate(batches_in_order(dataset)):
        assert decoded == [*range(0, number + 1, 2)]  # row groups of two rows
        rows += batch.to_pylist()
    assert rows == dataset.to_table().to_pylist()


def test_rows_in_memory_come_as_they_lie():
    rows = pa.table({"n": np.arange(70_000)})
    batches = list(batches_in_order(ds.dataset(rows)))
    assert [batch.num_rows for batch in batches] == [65_536, 4_464]
    assert pa.Table.from_batches(batches).equals(rows)


def test_two_row_groups_are_read_at_once(dataset):
    """Each reader waits for another: one after the other would wait in vain."""
    cores, barrier = pa.cpu_count(), threading.Barrier(2)
    pa.set_cpu_count(2)
    try:
        read_at_once(
            row_groups(dataset),
            pa.schema([SCHEMA.field("n")]),
            {"n": "n"},
            lambda *_: barrier.wait(timeout=30),
        )
    finally:
        pa.set_cpu_count(cores)


def test_an_error_of_a_reader_is_the_callers(dataset):
    def fail(batch, first_row):
        raise OSError(f"row {first_row}")

    with pytest.raises(OSError, match="row 0"):
        read_at_once(row_groups(dataset), pa.schema([SCHEMA.field("n")]), {"n": "n"}, fail)


def test_a_batch_of_wide_rows_fits_a_cores_cache(tmp_path):
    """4 MB: 4,000 rows of 256 float32 are 4.1 MB."""
    vectors = np.random.default_rng(1).random((8_000, 256), np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 256)
    rows = pa.table({"vector": lists.cast(pa.list_(pa.float32())), "n": np.arange(8_000)})
    pq.write_table(rows, tmp_path / "wide.parquet")
    (group,) = row_groups(ds.dataset(tmp_path, schema=rows.schema))

    def sizes(names):
        schema = pa.schema([rows.schema.field(name) for name in names])
        return [batch.num_rows for _, batch in group.batches(schema, {n: n for n in names})]

    assert sizes(["n"]) == [8_000]
    wide = sizes(["vector", "n"])
    assert 3_500 < wide[0] < 4_200
    assert sum(wide) == 8_000


CONDITIONS = {
    "one row group": (ds.field("n").isin([3]), 1),
    "two files": (ds.field("n").isin([1, 12]), 2),
    "a partition": (ds.field("day") == "b", 2),
    "both": ((ds.field("day") == "a") & (ds.field("n") > 2), 1),
    "null in every row": (ds.field("later").is_null(), 4),
    "none": (ds.field("n") == 99, 0),
}


@pytest.mark.parametrize(("where", "groups"), CONDITIONS.values(), ids=CONDITIONS)
def test_only_row_groups_with_a_row_of_the_condition_are_decoded(dataset, where, groups):
    narrowed = row_groups_with(dataset, where)
    assert len(list(narrowed.get_fragments())) == groups
    assert narrowed.to_table(filter=where).equals(dataset.to_table(filter=where))
