"""Readers of one version share a handle; another version, or another table, is never theirs."""

from __future__ import annotations

import shutil

import pytest
from worlds import at, tags

import vidtopics.tables
from vidtopics.contracts import TAG_EMBEDDING, VIDEO_STATISTICS
from vidtopics.errors import TableError
from vidtopics.tables import Tables, scans

WIDTHS = {"tag_width": 2}


@pytest.fixture
def tables(tmp_path) -> Tables:
    tables = Tables(tmp_path / "home")
    tables.home.mkdir()
    publish(tables, {"a": 1}, 1)
    return tables


def publish(tables: Tables, values: dict[str, int], event: int) -> None:
    tables.publish(TAG_EMBEDDING, tags(values), at(event), widths=WIDTHS)


def counts(tables: Tables, version: int | None = None) -> dict[str, int]:
    rows = tables.read(TAG_EMBEDDING, columns=["tag", "video_count"], version=version)
    return dict(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))


def test_a_version_is_opened_once_for_all_that_read_it(tables, monkeypatch):
    opened = []

    def open_and_count(uri, version=None):
        opened.append(version)
        return delta_table(uri, version=version)

    delta_table = vidtopics.tables.DeltaTable
    monkeypatch.setattr(vidtopics.tables, "DeltaTable", open_and_count)
    assert [counts(Tables(tables.home), version) for version in (None, 1, None)] == [{"a": 1}] * 3
    assert opened == [1]
    publish(tables, {"a": 1, "b": 2}, 2)
    assert counts(tables) == {"a": 1, "b": 2}
    assert counts(tables, 1) == {"a": 1}
    assert opened == [1, None, 2]


def test_a_table_in_another_s_place_is_read_anew(tables, tmp_path):
    other = Tables(tmp_path / "other")
    other.home.mkdir()
    publish(other, {"z": 9}, 1)
    assert counts(tables) == {"a": 1}
    shutil.rmtree(tables.path(TAG_EMBEDDING))
    shutil.copytree(other.path(TAG_EMBEDDING), tables.path(TAG_EMBEDDING))
    assert counts(tables) == {"z": 9}


def test_a_shared_handle_is_held_to_the_contract_of_each_reader(tables):
    counts(tables)
    shutil.rmtree(tables.path(VIDEO_STATISTICS), ignore_errors=True)
    shutil.copytree(tables.path(TAG_EMBEDDING), tables.path(VIDEO_STATISTICS))
    for _ in range(2):
        with pytest.raises(TableError, match="a table of contract video_statistics"):
            tables.read(VIDEO_STATISTICS)


def test_vectors_of_few_rows_are_read_from_their_row_groups_alone(tables, monkeypatch):
    """Three commits are three files; the condition picks a row of the second."""
    publish(tables, {"a": 1, "b": 2}, 2)
    publish(tables, {"a": 1, "b": 2, "c": 3}, 3)
    read = []

    def note(dataset, where):
        narrowed = scans.row_groups_with(dataset, where)
        read.append(len(list(narrowed.get_fragments())))
        return narrowed

    monkeypatch.setattr(vidtopics.tables, "row_groups_with", note)
    rows = tables.read(TAG_EMBEDDING, where=vidtopics.tables.ds.field("tag") == "b")
    assert rows.select(["tag", "tag_vector"]).to_pylist() == [{"tag": "b", "tag_vector": [1, 2]}]
    assert read == [1]
