"""Data files as executors write and read them, without a session."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.transaction import AddAction
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from pyspark.sql.pandas.types import from_arrow_schema

from vidtopics.contracts import CLICKS, VIDEO_STATISTICS
from vidtopics.errors import TableError
from vidtopics.paths import to_uri
from vidtopics.tables import spark_reader, spark_writer
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import TIMESTAMP, indexed

START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("n", pa.int64()),
        ("at", TIMESTAMP),
        ("x", pa.float32()),
        ("v", pa.list_(pa.float32())),
    ]
)


def rows(count: int, first: int = 0) -> pa.Table:
    numbers = range(first, first + count)
    columns = {
        "id": [f"v{i:04}" for i in numbers],
        "n": [None if i % 7 == 0 else i - 5 for i in numbers],
        "at": [START + timedelta(seconds=i) for i in numbers],
        "x": [float("nan") if i == first else i / 2 for i in numbers],
        "v": [[i, i + 0.5] for i in numbers],
    }
    return pa.table(columns, schema=SCHEMA)


def write(folder: Path, table: pa.Table, batch_rows: int = 10) -> dict:
    filesystem = SubTreeFileSystem(str(folder), LocalFileSystem())
    batches = iter(table.to_batches(max_chunksize=batch_rows))
    return spark_writer.write_file(filesystem, SCHEMA, SCHEMA.names[:4], batches)


def test_statistics_are_those_that_delta_rs_has_of_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(spark_writer, "GROUP_BYTES", 500)  # several row groups
    table = rows(50, first=3)
    file = write(tmp_path, table)
    write_deltalake(tmp_path / "oracle", table)
    oracle = pa.table(DeltaTable(tmp_path / "oracle").get_add_actions()).to_pylist()[0]
    statistics = json.loads(file["statistics"])
    assert statistics["numRecords"] == oracle["num_records"] == 50
    assert statistics["minValues"] == {
        "id": oracle["min"]["id"],
        "n": oracle["min"]["n"],
        "at": "2026-01-01T00:00:03.000000Z",
    }
    assert statistics["maxValues"] == {
        "id": oracle["max"]["id"],
        "n": oracle["max"]["n"],
        "at": "2026-01-01T00:00:52.000000Z",
    }
    nulls = {name: oracle["null_count"][name] for name in SCHEMA.names[:4]}
    assert statistics["nullCount"] == nulls
    assert nulls["n"] == 7  # 7, 14, ... 49
    assert file["size"] == (tmp_path / file["path"]).stat().st_size


def test_a_file_without_rows_is_none(tmp_path):
    assert write(tmp_path, rows(0)) is None
    assert list(tmp_path.iterdir()) == []


def test_a_long_text_has_no_statistics(tmp_path):
    table = rows(1).set_column(0, "id", pa.array(["é" * 65]))
    assert "id" not in json.loads(write(tmp_path, table)["statistics"])["minValues"]


def test_ids_of_people_are_in_no_statistics():
    assert "user_id" not in indexed(CLICKS)
    assert "video_id" in indexed(VIDEO_STATISTICS)


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_shares_of_a_file_have_each_row_once_after_a_journey(tmp_path, monkeypatch, parts):
    monkeypatch.setattr(spark_writer, "GROUP_BYTES", 500)
    table = rows(100)
    file = write(tmp_path, table)
    dataset = ds.dataset(tmp_path / file["path"], format="parquet")
    (fragment,) = dataset.get_fragments()
    assert len(fragment.row_groups) > 3
    asked = pa.schema([SCHEMA.field("v"), SCHEMA.field("id"), pa.field("later", pa.int64())])
    shares = [spark_reader.Share(fragment, part, parts) for part in range(parts)]
    batches = [batch for share in shares for batch in travelled(share).batches(asked)]
    read = pa.Table.from_batches(batches, schema=asked).sort_by("id")
    assert read["v"].to_pylist() == table["v"].to_pylist()
    assert read["later"].null_count == 100  # a column that the file lacks


def travelled(share: spark_reader.Share) -> spark_reader.Share:
    return pickle.loads(pickle.dumps(share))


def test_files_without_a_row_of_the_condition_are_in_no_task(tmp_path):
    for first in (0, 100, 200):
        write_deltalake(tmp_path, rows(50, first), mode="append")
    delta = DeltaTable(tmp_path)
    where = ds.field("at") >= pa.scalar(START + timedelta(seconds=120)).cast(TIMESTAMP)
    fragments = scan(delta).get_fragments(filter=where)
    tasks = spark_reader._shares(delta, fragments, parallelism=2)
    ids = {i for share in every(tasks) for b in share.batches(SCHEMA) for i in b["id"].to_pylist()}
    assert ids == {f"v{i:04}" for i in (*range(100, 150), *range(200, 250))}


def every(tasks: list[list[spark_reader.Share]]) -> Iterator[spark_reader.Share]:
    return (share for task in tasks for share in task)


def test_tasks_have_bounded_sizes_and_every_part_of_every_file_once():
    mega = 2**20
    files = [("large", 1000 * mega), ("middle", 100 * mega), *((f"s{i}", 1) for i in range(200))]
    tasks = spark_reader.pack(files, parallelism=4)
    parts = [(s.fragment, s.part, s.parts) for s in every(tasks)]
    assert len(parts) == len(set(parts))
    assert sorted(p for name, p, _ in parts if name == "large") == [*range(8)]
    assert {n for name, _, n in parts if name == "large"} == {8}
    assert {name for name, _, _ in parts} == {name for name, _ in files}
    for task in tasks:
        sizes = dict(files)
        cost = sum(sizes[s.fragment] // s.parts + spark_reader.OPEN_BYTES for s in task)
        assert cost <= spark_reader.TASK_BYTES + spark_reader.OPEN_BYTES


def test_a_new_table_is_there_as_a_whole_and_no_second_one_in_its_place(tmp_path, monkeypatch):
    table = rows(30)

    def write_here(frame, uri, schema, names):
        batches = iter(table.to_batches())
        file = spark_writer.write_file(spark_writer._file_system(uri), schema, names, batches)
        return [AddAction(file["path"], file["size"], {}, 0, True, file["statistics"])]

    monkeypatch.setattr(spark_writer, "write", write_here)
    frame = SimpleNamespace(schema=from_arrow_schema(SCHEMA))
    uri = to_uri(tmp_path / "a b" / "new")
    assert spark_writer.create(frame, uri, "its text") == 30
    delta = DeltaTable(uri)
    assert delta.history(1)[0]["userMetadata"] == "its text"
    assert delta.version() == 0
    assert delta.to_pyarrow_table().sort_by("id")["v"].to_pylist() == table["v"].to_pylist()
    with pytest.raises(TableError, match="expected no table yet, found one"):
        spark_writer.create(frame, uri, "another")
