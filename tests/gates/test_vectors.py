"""Null, width, finite, length and zero of vectors, over the rows that a release brings."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake
from gate_worlds import World, tag_embedding, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vidtopics.contracts import VIDEO_TAG_EMBEDDING
from vidtopics.gates import vectors
from vidtopics.tables.schemas import arrow_schema

NAMES = (
    "other_width_share",
    "width_change",
    "null_share",
    "not_finite_share",
    "off_length_share",
    "zero_share",
)
Vector = list[float] | None


def put(world: World, **vectors: Vector) -> int:
    rows = [tag_embedding(video, vector) for video, vector in vectors.items()]
    return world.put(VIDEO_TAG_EMBEDDING, rows)


def figures(world: World, before: dict[str, int] | None) -> list[float | None]:
    verdicts = world.judge(before)
    return [verdicts[f"video_tag_embedding.tag_embedding.{name}"].figure for name in NAMES]


def test_shares_are_of_the_rows_that_came(tmp_path: Path) -> None:
    """Of 8 new rows 1 is null, 1 three wide, 2 not finite, 1 too long, 2 zero."""
    world = World(tmp_path)
    before = {"video_tag_embedding": put(world, a=unit(1), b=unit(2))}
    put(
        world,
        a=unit(3),
        c=None,
        d=[1.0, 0.0, 0.0],
        e=[math.nan] * 4,
        f=[math.inf, 0.0, 0.0, 0.0],
        g=[2.0, 0.0, 0.0, 0.0],
        h=[0.0] * 4,
        i=[0.0] * 4,
    )
    assert figures(world, before) == [1 / 8, 0, 1 / 8, 2 / 8, 1 / 8, 2 / 8]
    verdict = world.judge(before)["video_tag_embedding.tag_embedding.not_finite_share"]
    assert verdict.examples == ("e", "f")


def test_all_vectors_may_have_another_width_together(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {"video_tag_embedding": put(world, a=unit(1), b=unit(2))}
    put(world, a=unit(1, 6), b=unit(2, 6))
    assert figures(world, before)[:2] == [0, 2]


def test_some_vectors_of_another_width_beside_those_of_before_are_refused(tmp_path: Path) -> None:
    """b, c and d keep four entries: the one row that came has the wrong width."""
    world = World(tmp_path)
    before = {"video_tag_embedding": put(world, a=unit(1), b=unit(2), c=unit(3), d=unit(4))}
    put(world, a=unit(1, 6))
    assert figures(world, before)[:2] == [1, 0]


def test_a_row_that_a_later_run_replaced_is_not_judged(tmp_path: Path) -> None:
    """A rejected run's NaN lies in the table for good; the run after it wrote the key again."""
    world = World(tmp_path)
    before = {"video_tag_embedding": put(world, a=unit(1))}
    put(world, a=[math.nan] * 4)
    put(world, a=unit(2))
    assert figures(world, before) == [0, 0, 0, 0, 0, 0]


def test_ended_keys_have_no_vector_to_judge(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {"video_tag_embedding": put(world, a=unit(1), b=unit(2))}
    world.put(VIDEO_TAG_EMBEDDING, [{"video_id": "a"}])
    assert figures(world, before) == [None, 0, None, None, None, None]


def test_files_of_a_compaction_are_read_again_and_give_the_same(tmp_path: Path) -> None:
    world = World(tmp_path)
    before = {"video_tag_embedding": put(world, a=unit(1))}
    put(world, b=[0.0] * 4)
    put(world, c=unit(3))
    assert figures(world, before) == [0, 0, 0, 0, 0, 1 / 2]
    DeltaTable(str(world.tables.path(VIDEO_TAG_EMBEDDING))).optimize.compact()
    world.versions["video_tag_embedding"] = world.tables.version(VIDEO_TAG_EMBEDDING)
    # Rows of before come again with the compaction: the share is of one more.
    assert figures(world, before) == [0, 0, 0, 0, 0, 1 / 3]


FLOATS = st.sampled_from([0.0, 0.6, 0.8, 1.0, -1.0, 3.0, math.nan, math.inf])
VECTORS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.none() | st.lists(FLOATS, min_size=2, max_size=3), min_size=1
)


@settings(max_examples=30)
@given(VECTORS)
def test_vectors_of_a_first_release_are_the_oracles(vectors: dict[str, Vector]) -> None:
    with tempfile.TemporaryDirectory() as root:
        world = World(Path(root))
        put(world, **vectors)
        shares = figures(world, None)
    given_ones = [v for v in vectors.values() if v is not None]
    widths = [len(v) for v in given_ones]
    width = max(set(widths), key=lambda w: (widths.count(w), w), default=0)
    lengths = [math.sqrt(sum(x * x for x in v)) for v in given_ones]
    finite = [length for length in lengths if math.isfinite(length)]
    counts = [
        sum(w != width for w in widths),
        0,
        len(vectors) - len(given_ones),
        len(lengths) - len(finite),
        sum(length > 0 and abs(length - 1) > 1e-3 for length in finite),
        sum(length == 0 for length in finite),
    ]
    assert shares == pytest.approx([count / len(vectors) for count in counts])


def test_memory_holds_some_megabytes_of_vectors_however_large_a_row_group_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row group of 40,000 vectors of 512: 82 MB, of which 24 MB at most are held at once."""
    world, count, width = World(tmp_path), 40_000, 512
    flat = np.random.default_rng(1).standard_normal((count, width), np.float32)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    before = put_vectors(world, flat, event=1)
    flat[123] = 0
    flat[39_999, 7] = np.nan
    put_vectors(world, flat, event=2)
    held, real, base = [], vectors.Tally.add, pa.total_allocated_bytes()

    def spy(tally: vectors.Tally, *columns: pa.Array) -> None:
        held.append(pa.total_allocated_bytes() - base)
        real(tally, *columns)

    monkeypatch.setattr(vectors.Tally, "add", spy)
    verdicts = world.judge({"video_tag_embedding": before})
    shares = [verdicts[f"video_tag_embedding.tag_embedding.{name}"] for name in NAMES]
    assert [v.figure for v in shares] == [0, 0, 0, 1 / count, 0, 1 / count]
    assert shares[3].examples == (f"v{count - 1}",)
    assert max(held) < 24e6
    assert len(held) > count * width * 4 / 24e6


def put_vectors(world: World, flat: NDArray[np.float32], event: int) -> int:
    """One file with one row group, as delta-rs writes a large commit."""
    count, width = flat.shape
    ends = np.arange(0, flat.size + 1, width, dtype=np.int32)
    schema = arrow_schema(VIDEO_TAG_EMBEDDING)
    columns = {
        "video_id": pa.array([f"v{i}" for i in range(count)]),
        "tag_embedding": pa.ListArray.from_arrays(ends, flat.ravel()),
        "tag_count": pa.array(np.ones(count, np.int64)),
        "value_hash": pa.array(np.ones(count, np.int64)),
        **{
            name: pa.array(np.full(count, event)).cast(schema.field(name).type)
            for name in ("event_timestamp", "created_timestamp")
        },
    }
    world.tables.delta(VIDEO_TAG_EMBEDDING, create=True)
    rows = pa.table({f.name: columns[f.name].cast(f.type) for f in schema}, schema=schema)
    path = str(world.tables.path(VIDEO_TAG_EMBEDDING))
    properties = WriterProperties(max_row_group_size=count, compression="SNAPPY")
    write_deltalake(path, rows, mode="append", writer_properties=properties)
    files = DeltaTable(path).file_uris()
    assert {pq.ParquetFile(file).num_row_groups for file in files} == {1}
    world.versions["video_tag_embedding"] = world.tables.version(VIDEO_TAG_EMBEDDING)
    return world.versions["video_tag_embedding"]
