"""Names of data files come from the log alone, and are those that a scan reads."""

from urllib.parse import unquote

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from vidtopics.tables.data_files import data_files, files_digest, missing_files
from vidtopics.tables.scans import scan

ROWS = pa.table({"part": ["a b", "x%20y", "é/#"], "value": [1, 2, 3]})


@pytest.fixture(params=["plain", "with space", "with#hash", "ünï"])
def delta(tmp_path, request):
    folder = tmp_path / request.param
    write_deltalake(folder, ROWS, partition_by=["part"])
    return DeltaTable(folder)


def test_names_are_those_of_the_scan(delta):
    names = data_files(delta)
    assert names == {unquote(fragment.path) for fragment in scan(delta).get_fragments()}
    assert len(names) == 3
    assert missing_files(delta) == frozenset()


def test_names_are_read_without_a_dataset(delta, monkeypatch):
    monkeypatch.setattr(DeltaTable, "to_pyarrow_dataset", None)
    assert len(data_files(delta)) == 3


def test_missing_files_are_named(delta):
    fragment = next(scan(delta).get_fragments())
    scan(delta).filesystem.delete_file(fragment.path)
    gone = unquote(fragment.path)
    assert missing_files(delta) == {gone}
    assert missing_files(delta, data_files(delta) - {gone}) == frozenset()
    assert data_files(delta) > {gone}


def test_a_digest_depends_on_the_set_of_names_alone():
    assert files_digest(["b", "a"]) == files_digest({"a", "b"})
    assert files_digest(["a", "b"]) != files_digest(["ab"])
