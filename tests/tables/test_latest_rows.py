"""Vectors of the rows that hold: as by reading all rows, from the row groups that have any."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import at, tags

from vidtopics.contracts import TAG_EMBEDDING
from vidtopics.tables import Tables
from vidtopics.tables import row_groups as row_groups_module
from vidtopics.tables.latest_rows import LatestRows, gather, latest
from vidtopics.tables.row_groups import row_groups

WIDTHS = {"tag_width": 2}
NAMES = ["tag", "tag_vector", "video_count"]
RUNS = st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3)), min_size=1, max_size=5)


def publish(tables: Tables, values: dict[str, int], event: int) -> None:
    tables.publish(TAG_EMBEDDING, tags(values), at(event), widths=WIDTHS)


@settings(max_examples=30, deadline=None)
@given(RUNS, st.integers(0, 6), st.sampled_from([None, "a", "d"]))
def test_any_time_and_entity_reads_what_all_rows_give(runs, as_of, tag):
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(folder)
        for event, values in enumerate(runs, 1):
            publish(tables, values, event)
        entity = None if tag is None else ds.field("tag") == tag
        rows = tables.as_of(TAG_EMBEDDING, as_of, where=entity).select(NAMES).to_pylist()
    held = runs[min(as_of, len(runs)) - 1] if as_of else {}
    assert rows == [
        {"tag": t, "tag_vector": [1, n], "video_count": n}
        for t, n in sorted(held.items())
        if tag in (None, t)
    ]


@given(st.lists(st.integers(0, 39), unique=True), st.integers(1, 9))
def test_rows_by_number_come_in_the_order_asked_for(numbers, group_size):
    with tempfile.TemporaryDirectory() as folder:
        for part, start in (("a", 0), ("b", 15)):
            values = pa.table({"n": np.arange(start, start + 15 + 10 * (part == "b"))})
            path = Path(folder) / f"{part}.parquet"
            pq.write_table(values, path, row_group_size=group_size)
        rows = gather(ds.dataset(folder), ["n"], np.array(numbers, np.int64))
    assert rows["n"].to_pylist() == numbers


def test_row_groups_whose_rows_were_all_replaced_are_not_decoded(tmp_path, monkeypatch):
    tables = Tables(tmp_path)
    for event, values in ((1, {"a": 1, "b": 1}), (2, {"a": 2, "b": 1}), (3, {"a": 2, "b": 2})):
        publish(tables, values, event)
    read = []

    def count(groups, *rest):
        chosen = list(groups)
        read.append([group.rows for group in chosen])
        return read_at_once(iter(chosen), *rest)

    read_at_once = row_groups_module.read_at_once
    monkeypatch.setattr(row_groups_module, "read_at_once", count)
    assert tables.as_of(TAG_EMBEDDING, 9)["video_count"].to_pylist() == [2, 2]
    assert read == [[1, 1]]  # the first run's two rows are of another row group


@pytest.mark.parametrize("columns", [["tag_vector"], ["component", "tag_vector", "tag"]])
def test_read_in_two_steps_equals_read_at_once(tmp_path, columns):
    tables = Tables(tmp_path)
    for event in range(1, 5):
        publish(tables, {"a": event, "b": 1, **({"c": 3} if event % 2 else {})}, event)
    where = ds.field("event_timestamp") > pa.scalar(2, pa.int64()).cast(pa.timestamp("us", "UTC"))
    dataset = tables._dataset(TAG_EMBEDDING, None)
    at_once = latest(TAG_EMBEDDING, dataset.to_table(filter=where), columns)
    assert LatestRows.of(TAG_EMBEDDING, dataset, where).read(*columns).equals(at_once)
    assert len(list(row_groups(dataset))) == 4
