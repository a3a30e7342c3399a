"""The streamed join: in bounded memory, in order, at named versions.

Its rules are held by tests/joins/test_join_contract.py.
"""

import random
import weakref
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from consumers.training import join_stream, spill
from consumers.training.spill import Spill, evenly
from vidtopics.contracts import (
    CREATED_TIME,
    EVENT_TIME,
    VALUE_HASH,
    VIDEO_STATISTICS,
    Column,
    Table,
    View,
)
from vidtopics.errors import TableError
from vidtopics.tables import Tables
from vidtopics.tables.pins import read_pins
from vidtopics.tables.schemas import TIMESTAMP

VECTORS = Table(
    "vectors",
    "history",
    ("video_id",),
    engine="deltalake",
    doc="",
    view=View("video", ttl=timedelta(seconds=1)),
    columns=(Column("video_id", "string", ""), Column("vector", "list<float32>", "")),
)
SCORES = Table(
    "scores",
    "history",
    ("video_id",),
    engine="deltalake",
    doc="",
    view=View("video"),
    columns=(Column("video_id", "string", ""), Column("score", "int64", "")),
)


def times(values):
    return pa.array(values, pa.int64()).cast(TIMESTAMP)


def append(tables, table, ids, us, values):
    """Rows of one feature that were known at once."""
    rows = {
        "video_id": ids,
        table.values[0].name: values,
        EVENT_TIME: times(us),
        CREATED_TIME: times(us),
        VALUE_HASH: [1] * len(ids),
    }
    write_deltalake(tables.uri(table), pa.table(rows), name=table.name, mode="append")


@pytest.fixture
def tables(tmp_path):
    """Scores of ten videos: i from 0 on, 100 + i from 50 on."""
    feature_tables = Tables(tmp_path)
    ids = [f"v{i}" for i in range(10)]
    append(feature_tables, SCORES, ids, [0] * 10, list(range(10)))
    append(feature_tables, SCORES, ids, [50] * 10, list(range(100, 110)))
    return feature_tables


def spine(ids, us, **more):
    return pa.table({"video_id": pa.array(ids, pa.string()), EVENT_TIME: times(us), **more})


class Produced:
    """A spine that is made batch by batch.

    `live` counts the batches that are still held somewhere, `arrow` Arrow's own memory.
    """

    ROWS, WIDTH = 1_000, 1_000

    def __init__(self, batches):
        self.batches, self.made, self.live, self.most, self.arrow = batches, 0, 0, 0, []

    def __iter__(self):
        for n in range(self.batches):
            self.made += 1
            self.arrow.append(pa.total_allocated_bytes())
            yield self.batch(n)
            self.most = max(self.most, self.live)

    def batch(self, n):
        ballast = np.full(self.ROWS * self.WIDTH, n % 256, np.uint8)
        self.live += 1
        weakref.finalize(ballast, self.gone)
        rows = pa.Array.from_buffers(
            pa.binary(self.WIDTH), self.ROWS, [None, pa.py_buffer(ballast)]
        )
        ids = pa.array([f"v{i % 10}" for i in range(self.ROWS)])
        return pa.record_batch([ids, times([n] * self.ROWS), rows], schema=self.schema)

    def gone(self):
        self.live -= 1

    schema = pa.schema(
        [("video_id", pa.string()), (EVENT_TIME, TIMESTAMP), ("ballast", pa.binary(WIDTH))]
    )


def test_a_spine_is_never_held_whole(tables):
    """80 batches of a megabyte in chunks of four."""
    produced = Produced(80)
    before = pa.total_allocated_bytes()
    reader = pa.RecordBatchReader.from_batches(produced.schema, iter(produced))
    joined = join_stream(tables, reader, [SCORES], chunk_rows=4_000)
    assert produced.made == 0
    rows = 0
    for batch in joined:
        n = rows // Produced.ROWS  # the time of the first row: before 50 the first score holds
        assert batch["score"][0].as_py() == (0 if n < 50 else 100)
        rows += batch.num_rows
    assert rows == 80_000
    assert produced.most <= 6
    assert (
        max(produced.arrow) - before < 20_000_000
    )  # of 80: the chunk's parts, the chunk, the batch that is written


def test_wide_features_are_not_held(tmp_path):
    """20,000 vectors of 512: 41 MB, of which Arrow holds none between batches."""
    tables = Tables(tmp_path)
    flat = np.arange(20_000 * 512, dtype=np.float32)
    vectors = pa.ListArray.from_arrays(np.arange(20_001, dtype=np.int32) * 512, flat)
    append(tables, VECTORS, [f"v{i}" for i in range(20_000)], [0] * 20_000, vectors)
    del vectors
    before = pa.total_allocated_bytes()
    joined = join_stream(
        tables, spine(["v19999", "nobody", "v3"], [1, 1, 1]).to_reader(), [VECTORS], folder=tmp_path
    )
    assert pa.total_allocated_bytes() - before < 4_000_000
    vectors = joined.read_all()["vector"].to_pylist()
    assert vectors[0] == flat[-512:].tolist()
    assert vectors[1:] == [None, flat[3 * 512 : 4 * 512].tolist()]
    assert [path.name for path in tmp_path.iterdir()] == ["tables"]  # the spill has no name


def test_wide_features_come_in_smaller_batches(tmp_path):
    """32 MB are 16,384 vectors of 512 float32; of one number, 65,536 rows."""

    def spill_of(width):
        flat = pa.array(np.zeros(100 * width, np.float32))
        lists = pa.FixedSizeListArray.from_arrays(flat, width)
        batch = pa.record_batch({"vector": lists})
        return Spill(batch.schema, lambda write: write(batch, 0), tmp_path)

    assert spill.rows_at_once([spill_of(512)]) == 16_384
    assert spill.rows_at_once([spill_of(512), spill_of(512)]) == 8_192
    assert spill.rows_at_once([spill_of(1)]) == 65_536
    assert spill.rows_at_once([]) == 65_536


@given(st.lists(st.integers(0, 9)), st.integers(1, 7))
def test_batches_of_one_size_hold_the_same_rows(sizes, rows):
    numbers = iter(range(sum(sizes)))
    batches = [
        pa.record_batch({"x": pa.array([next(numbers) for _ in range(size)], pa.int64())})
        for size in sizes
    ]
    even = list(evenly(batches, rows))
    assert [x for batch in even for x in batch["x"].to_pylist()] == list(range(sum(sizes)))
    assert all(batch.num_rows == rows for batch in even[:-1])
    assert all(0 < batch.num_rows <= rows for batch in even)


@given(st.lists(st.integers(-1, 22), max_size=40))
def test_rows_are_taken_from_all_batches_of_the_spill(tmp_path_factory, numbers):
    schema = pa.schema([("text", pa.string()), ("slots", pa.list_(pa.int64()))])
    plain = [
        {"text": None if i % 5 == 0 else f"t{i}", "slots": None if i % 3 == 0 else [i, -i]}
        for i in range(23)
    ]
    batches = pa.Table.from_pylist(plain, schema).to_batches(max_chunksize=4)

    def fill(write):  # as threads may: in another order
        for i in (3, 0, 5, 1, 4, 2):
            write(batches[i], 4 * i)

    rows = Spill(schema, fill, tmp_path_factory.getbasetemp())
    taken_rows = rows.take(np.array(numbers, np.int64)).to_pylist()
    assert taken_rows == [plain[i] if i >= 0 else {"text": None, "slots": None} for i in numbers]


@pytest.mark.parametrize(("chunk", "batch"), [(1, 1), (7, 3), (64, 1_000), (10_000, 50)])
def test_sizes_of_chunks_and_batches_change_nothing(tables, monkeypatch, chunk, batch):
    monkeypatch.setattr(spill, "BATCH_ROWS", batch)
    r = random.Random(chunk)
    asked = [(r.randrange(12), r.randrange(-10, 100)) for _ in range(200)]
    whole = spine([f"v{i}" for i, _ in asked], [us for _, us in asked], n=range(200))
    joined = join_stream(
        tables, whole.to_reader(max_chunksize=9), [SCORES], chunk_rows=chunk
    ).read_all()
    assert joined.select(whole.column_names).equals(whole)
    assert joined["score"].to_pylist() == [
        None if i > 9 or us < 0 else i + 100 * (us >= 50) for i, us in asked
    ]


def test_a_named_version_is_read_and_the_result_says_which(tables):
    asked = spine(["v1"], [99])
    old = join_stream(tables, asked.to_reader(), [SCORES], versions={"scores": 0}).read_all()
    new = join_stream(tables, asked.to_reader(), [SCORES]).read_all()
    assert (old["score"].to_pylist(), new["score"].to_pylist()) == ([1], [101])
    delta = DeltaTable(tables.uri(SCORES))
    pin = read_pins(old).views["scores"]
    assert (pin.table_id, pin.version) == (str(delta.metadata().id), 0)
    assert read_pins(new).views["scores"].version == 1


def test_a_version_that_was_compacted_and_vacuumed_is_read_from_the_one_that_has_its_rows(tables):
    asked = spine(["v1", "v2"], [99, 49])
    versions = {"scores": 1}
    before = join_stream(tables, asked.to_reader(), [SCORES], versions=versions).read_all()
    delta = tables.delta(SCORES)
    delta.optimize.compact()
    assert delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    after = join_stream(tables, asked.to_reader(), [SCORES], versions=versions).read_all()
    assert (before["score"].to_pylist(), after.to_pydict()) == ([101, 2], before.to_pydict())
    # It gives the same rows, and opens.
    assert read_pins(after).views["scores"].version == 2
    with pytest.raises(
        TableError, match=r"scores, version 0: expected all its data files, whole, found .*parquet"
    ):
        join_stream(tables, asked.to_reader(), [SCORES], versions={"scores": 0})


def test_full_names_tell_views_with_equal_features_apart(tables):
    other = Table(
        "marks", "history", ("video_id",), engine="deltalake", doc="", columns=SCORES.columns
    )
    append(tables, other, ["v1"], [0], [7])
    with pytest.raises(TableError, match="expected each column once, found score twice"):
        join_stream(tables, spine(["v1"], [1]).to_reader(), [SCORES, other])
    joined = join_stream(
        tables, spine(["v1"], [1]).to_reader(), [SCORES, other], full_feature_names=True
    ).read_all()
    assert joined.select(["scores__score", "marks__score"]).to_pylist() == [
        {"scores__score": 1, "marks__score": 7}
    ]


def test_a_wrong_spine_is_told(tables):
    with pytest.raises(
        TableError, match="spine: expected the columns event_timestamp, found video_id"
    ):
        join_stream(tables, pa.table({"video_id": ["v1"]}).to_reader(), [SCORES])
    with pytest.raises(TableError, match="expected each column once, found score twice"):
        join_stream(tables, spine(["v1"], [1], score=[5]).to_reader(), [SCORES])
    with pytest.raises(TableError, match="expected the table video_statistics, found nothing"):
        join_stream(tables, spine(["v1"], [1]).to_reader(), [VIDEO_STATISTICS])
    text = pa.table({"video_id": ["v1"], EVENT_TIME: ["2026-01-01"]})
    with pytest.raises(TableError, match="spine, column event_timestamp: expected timestamp"):
        join_stream(tables, text.to_reader(), [SCORES]).read_all()
    late = spine(["v1"] * 9, [1, 2, 3, 4, 5, 6, None, 8, None])
    with pytest.raises(
        TableError, match="spine, event_timestamp, row 6: expected a time, found null"
    ):
        join_stream(tables, late.to_reader(), [SCORES], chunk_rows=4).read_all()


def test_times_without_a_zone_are_utc_and_nanoseconds_are_cut_off(tables):
    asked = pa.table(
        {"video_id": ["v1"] * 2, EVENT_TIME: pa.array([49_999, 50_000], pa.timestamp("ns"))}
    )
    assert join_stream(tables, asked.to_reader(), [SCORES]).read_all()["score"].to_pylist() == [
        1,
        101,
    ]
    asked = pa.table(
        {"video_id": ["v1"] * 2, EVENT_TIME: pa.array([-1, 1], pa.timestamp("s", "Asia/Tokyo"))}
    )
    assert join_stream(tables, asked.to_reader(), [SCORES]).read_all()["score"].to_pylist() == [
        None,
        101,
    ]


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("video_id", [1], "expected string, found int64"),
        (EVENT_TIME, [1], r"expected timestamp\[us, tz=UTC\], found int64"),
    ],
)
def test_a_key_or_time_of_another_type_is_refused_by_name(tables, column, values, found):
    rows = spine(["v1"], [60])
    rows = rows.set_column(rows.schema.get_field_index(column), column, pa.array(values))
    with pytest.raises(TableError, match=f"spine, column {column}: {found}"):
        join_stream(tables, rows.to_reader(), [SCORES])


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_a_key_in_another_encoding_is_the_same_key(tables, kind):
    rows = spine(["v1"], [60])
    rows = rows.set_column(0, "video_id", rows["video_id"].cast(kind))
    assert join_stream(tables, rows.to_reader(), [SCORES]).read_all()["score"].to_pylist() == [101]
