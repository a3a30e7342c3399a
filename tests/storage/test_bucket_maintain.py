"""Upkeep in a bucket does what it does in a folder, and every release reads as before."""

import shutil
from datetime import timedelta

import pyarrow as pa
import pytest

from benchmarks.homes import release_tables
from vidtopics.contracts import RELEASES, TABLES, TAG_EMBEDDING
from vidtopics.maintenance import maintain
from vidtopics.releases.lock import hold
from vidtopics.settings import MaintenanceSettings
from vidtopics.storage import Address
from vidtopics.storage.copying import copy_home
from vidtopics.storage.mirrors import open_mirror
from vidtopics.tables import Commit, Tables
from vidtopics.tables.tail import checkpointed_version

DEFAULT = MaintenanceSettings()
STRICT = MaintenanceSettings(keep_releases=timedelta(0), keep_versions=timedelta(0))


@pytest.fixture
def released(tmp_path):
    """A home of 18 releases, each with a file of its own."""
    tables = Tables(tmp_path / "released")
    for number in range(1, 19):
        vectors = pa.array([[1.0, float(number)], [1.0, 0.0]], pa.list_(pa.float32()))
        rows = pa.table({"tag": ["a", "b"], "tag_vector": vectors, "video_count": [number, 1]})
        rows = rows.append_column("component", pa.array([0, 0], pa.int64()))
        commit = Commit("tag_embedding", number, number)
        tables.publish(TAG_EMBEDDING, rows, commit, widths={"tag_width": 2})
        release_tables(tables, as_of_us=number, created_us=number, settings="s")
    return tables


def contents(tables, last=False):
    rows = [*tables.newest_rows(RELEASES)]
    return {
        (row["release_id"], name): sorted(
            map(repr, tables.read(TABLES[name], version=v).to_pylist())
        )
        for row in (rows[:1] if last else rows)
        for name, v in dict(row["versions"]).items()
    }


def opened(bucket):
    return open_mirror(Address.parse(bucket.url()), models=True)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(DEFAULT, id="default", marks=pytest.mark.slow),
        pytest.param(STRICT, id="strict"),
    ],
)
def test_a_bucket_is_maintained_as_a_folder(released, bucket, settings, tmp_path, monkeypatch):
    copy_home(Address.parse(released.home), Address.parse(bucket.url()))
    folder = Tables(shutil.copytree(released.home, tmp_path / "folder"))
    home = opened(bucket)
    before = contents(folder, last=settings is STRICT)
    dry = maintain(Tables(home), settings, dry_run=True)
    with hold(home, "vidtopics maintain"):
        done = maintain(Tables(home), settings)
    assert [(d.table, d.removed_files, d.removed_bytes) for d in dry] == [
        (d.table, d.removed_files, d.removed_bytes)
        for d in maintain(folder, settings, dry_run=True)
    ]
    assert done == maintain(folder, settings)
    assert not any(d.fault or d.skipped for d in done)
    assert {d.compacted for d in done} == {18}
    if settings is STRICT:
        assert any(d.removed_files for d in done)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    for mirror in (home, opened(bucket)):
        tables = Tables(mirror)
        assert contents(tables, last=settings is STRICT) == before
        for table in (TAG_EMBEDDING, RELEASES):
            log = tables.path(table) / "_delta_log"
            assert checkpointed_version(log) == tables.delta(table).version()
            names = {f"tables/{table.name}/_delta_log/{path.name}" for path in log.iterdir()}
            stored = {key for key in bucket.contents() if key.startswith(f"tables/{table.name}/_d")}
            assert names == stored
        if settings is DEFAULT:
            with hold(mirror, "vidtopics maintain"):
                assert all(d.idle for d in maintain(tables, settings))
