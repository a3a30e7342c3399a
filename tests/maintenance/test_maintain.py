"""Upkeep: what is merged and removed, and that every version that is named reads as before."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable, TableFeatures
from deltalake.exceptions import CommitFailedError
from hypothesis import given
from hypothesis import strategies as st
from online_home import OnlineHome
from worlds import at, impressions, tags

from benchmarks.homes import release_tables
from vidtopics.cli import common
from vidtopics.contracts import IMPRESSIONS, RELEASES, TABLES, TAG_EMBEDDING, TOPIC_QUEUES
from vidtopics.maintenance import maintain, upkeep
from vidtopics.maintenance.names import covering_versions
from vidtopics.maintenance.upkeep import Upkeep
from vidtopics.releases.loads import record
from vidtopics.settings import MaintenanceSettings
from vidtopics.tables import Tables
from vidtopics.tables.data_files import data_files, missing_files
from vidtopics.tables.tail import LOG, checkpointed_version

WIDTHS = {"tag_width": 2}
DEFAULT = MaintenanceSettings()
NOTHING = timedelta(0)
STRICT = MaintenanceSettings(keep_releases=NOTHING, keep_versions=NOTHING)


def publish(tables: Tables, number: int) -> None:
    tables.publish(TAG_EMBEDDING, tags({"a": number, "b": 1}), at(number), widths=WIDTHS)
    release_tables(tables, as_of_us=number, created_us=number, settings="s")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Of 18 releases, each with a commit and a file of its own."""
    tables = Tables(tmp_path)
    for number in range(1, 19):
        publish(tables, number)
    return tables


def contents(
    tables: Tables, only: int | None = None
) -> dict[tuple[int, str], list[dict[str, object]]]:
    """All rows of every table as each release names it, or one does."""
    return {
        (row["release_id"], name): sorted(
            tables.read(TABLES[name], version=version).to_pylist(), key=repr
        )
        for row in tables.newest_rows(RELEASES)
        for name, version in dict(row["versions"]).items()
        if only in (None, row["release_id"])
    }


def listing(tables: Tables) -> dict[str, int]:
    files = (path for path in tables.home.rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files}


def test_small_files_become_one_and_every_release_reads_as_before(tables: Tables) -> None:
    before = contents(tables)
    done = {m.table: m for m in maintain(tables, DEFAULT)}
    assert [(m.files, m.compacted, m.into, m.removed_files) for m in done.values()] == [
        (18, 18, 1, 0)
    ] * 2
    assert set(done) == {TAG_EMBEDDING.name, RELEASES.name}
    assert len(before) == 18
    assert contents(tables) == before
    for table in (TAG_EMBEDDING, RELEASES):
        delta = tables.delta(table)
        assert len(data_files(delta)) == 1
        assert checkpointed_version(tables.path(table) / LOG) == delta.version()
    again = listing(tables)
    assert all(m.idle for m in maintain(tables, DEFAULT))
    assert listing(tables) == again


def test_few_files_are_left_alone(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    publish(tables, 1)
    publish(tables, 2)
    before = listing(tables)
    assert all(m.idle for m in maintain(tables, DEFAULT))
    assert listing(tables) == before


def test_a_dry_run_counts_what_a_run_does_and_writes_nothing(tables: Tables) -> None:
    before = listing(tables)
    planned = {m.table: m for m in maintain(tables, DEFAULT, dry_run=True)}
    assert listing(tables) == before
    done = {m.table: m for m in maintain(tables, DEFAULT)}
    for name, m in done.items():
        assert (planned[name].compacted, planned[name].compacted_bytes) == (18, m.compacted_bytes)
        assert planned[name].files == m.files
        assert not planned[name].idle


def gone(tables: Tables, version: int) -> bool:
    delta = DeltaTable(tables.uri(TAG_EMBEDDING), version=version)
    return bool(missing_files(delta))


def test_what_no_release_names_is_removed_and_what_one_names_never_is(tables: Tables) -> None:
    """Beyond both horizons the release in force stays, and what a store shows; no other does."""
    maintain(tables, MaintenanceSettings(keep_versions=NOTHING))
    assert not any(gone(tables, version) for version in range(1, 19))  # all are releases of today
    publish(tables, 19)
    record(tables, 5, "localhost:6379/vt", load=1, live_us=1)
    record(tables, 3, "localhost:6379/vt", load=2, live_us=2)
    pinned, current = contents_of(tables, 3), contents(tables)[19, TAG_EMBEDDING.name]
    (m,) = (m for m in maintain(tables, STRICT) if m.table == TAG_EMBEDDING.name)
    assert m.removed_files == 15  # of 18; three are the pinned version's
    assert m.removed_bytes > 0
    assert [gone(tables, version) for version in (1, 2, 3, 4, 17, 18)] == [False] * 3 + [True] * 3
    assert contents_of(tables, 3) == pinned
    assert tables.latest_release()["release_id"] == 19
    assert contents(tables, only=19)[19, TAG_EMBEDDING.name] == current
    assert all(m.idle for m in maintain(tables, STRICT))


def contents_of(tables: Tables, version: int) -> list[dict[str, object]]:
    return sorted(tables.read(TAG_EMBEDDING, version=version).to_pylist(), key=repr)


def test_a_snapshot_that_nobody_released_goes(tmp_path: Path) -> None:
    home = OnlineHome(tmp_path)
    home.queues({1: ["a"]})
    home.release()
    home.queues({1: ["b"]})
    home.queues({1: ["c"]})
    home.release()  # as of 1970, as a backfill's may be; recorded now
    settings = MaintenanceSettings(keep_versions=NOTHING)
    (m,) = (m for m in maintain(home.tables, settings) if m.table == TOPIC_QUEUES.name)
    assert m.removed_files == 1
    first, last = (row["versions"] for row in [*home.tables.newest_rows(RELEASES)][::-1])
    videos = [
        home.tables.read(TOPIC_QUEUES, version=dict(versions)[TOPIC_QUEUES.name])["video_id"]
        for versions in (first, last)
    ]
    assert [column.to_pylist() for column in videos] == [["a"], ["c"]]


def test_the_tables_say_how_long_their_versions_stay(tables: Tables) -> None:
    settings = MaintenanceSettings(
        keep_releases=timedelta(days=90), keep_versions=timedelta(hours=36)
    )
    maintain(tables, settings)
    configuration = tables.delta(TAG_EMBEDDING).metadata().configuration
    assert configuration["delta.logRetentionDuration"] == "interval 90 days"
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 129600 seconds"


def test_old_entries_of_the_log_go_and_every_younger_version_opens(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    for number in range(1, 19):
        tables.publish(TAG_EMBEDDING, tags({"a": number}), at(number), widths=WIDTHS)
    release_tables(tables, as_of_us=18, created_us=18, settings="s")
    log = tables.path(TAG_EMBEDDING) / LOG
    DeltaTable(tables.uri(TAG_EMBEDDING), version=9).create_checkpoint()
    long_ago = time.time() - timedelta(days=500).total_seconds()
    for path in log.iterdir():
        if path.name[:20].isdigit() and int(path.name[:20]) <= 12:
            os.utime(path, (long_ago, long_ago))
    before = {version: contents_of(tables, version) for version in range(9, 19)}
    planned, done = (
        next(m for m in maintain(tables, DEFAULT, dry_run=dry) if m.table == TAG_EMBEDDING.name)
        for dry in (True, False)
    )
    assert planned.removed_entries == done.removed_entries == 9
    assert not (log / f"{8:020}.json").exists()
    assert {version: contents_of(tables, version) for version in range(9, 19)} == before


def test_the_log_reaches_back_to_the_oldest_version_that_is_named(tmp_path: Path) -> None:
    """The release in force may name a version that is older than every horizon."""
    tables = Tables(tmp_path)
    tables.publish(TAG_EMBEDDING, tags({"a": 1}), at(1), widths=WIDTHS)
    release_tables(tables, as_of_us=1, created_us=1, settings="s")
    entry = tables.path(TAG_EMBEDDING) / LOG / f"{1:020}.json"
    long_ago = time.time() - timedelta(days=500).total_seconds()
    os.utime(entry, (long_ago, long_ago))
    maintain(tables, DEFAULT)
    configuration = tables.delta(TAG_EMBEDDING).metadata().configuration
    assert configuration["delta.logRetentionDuration"] == "interval 540 days"  # 18 of 30
    assert all(m.idle for m in maintain(tables, DEFAULT))
    assert entry.exists()


def test_a_table_with_deletion_vectors_is_refused_and_stops_no_other(
    tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    """OPTIMIZE of delta-rs 1.6 brings deleted rows back."""
    tables.delta(TAG_EMBEDDING).alter.add_feature(
        TableFeatures.DeletionVectors, allow_protocol_versions_increase=True
    )
    version = tables.version(TAG_EMBEDDING)
    assert common.run(["maintain", "--home", str(tables.home), "--json"]) == 2
    done = {m["table"]: m for m in json.loads(capsys.readouterr().out)}
    assert "found the reader features deletionVectors" in done[TAG_EMBEDDING.name]["fault"]
    assert tables.version(TAG_EMBEDDING) == version
    assert done[RELEASES.name]["compacted"] == 18


def test_another_writers_commit_ends_the_upkeep_of_its_table_for_now(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conflict(upkeep: Upkeep, dry_run: bool) -> None:
        raise CommitFailedError("a conflict")

    with monkeypatch.context() as patch:
        patch.setattr(Upkeep, "_compact", conflict)
        done = maintain(tables, DEFAULT)
    assert [m.skipped for m in done] == ["another writer was first: a conflict"] * 2
    assert not any(m.fault for m in done)
    assert not any(m.skipped for m in maintain(tables, DEFAULT))


def test_deliveries_go_on_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publish whose commit meets a compaction starts over; nothing is lost or doubled."""
    monkeypatch.setattr(upkeep, "SMALL_FILES", 2)
    tables, stop, merged = Tables(tmp_path), threading.Event(), []
    tables.publish(IMPRESSIONS, impressions(("0", 1, 1)), at(2))

    def maintain_on() -> None:
        while not stop.is_set():
            merged.extend(m.into for m in maintain(Tables(tmp_path), DEFAULT))

    thread = threading.Thread(target=maintain_on)
    thread.start()
    try:
        for number in range(1, 25):
            tables.publish(IMPRESSIONS, impressions((str(number), 1, 1)), at(2 + number))
    finally:
        stop.set()
        thread.join()
    rows = tables.read(IMPRESSIONS)["event_id"].to_pylist()
    assert sorted(rows, key=int) == [str(number) for number in range(25)]
    assert sum(merged) > 1


def test_a_run_that_has_the_lock_is_named(
    tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    from vidtopics.releases.lock import hold

    with hold(tables.home, "vidtopics run"):
        assert common.run(["maintain", "--home", str(tables.home)]) == 3
        assert "vidtopics run" in capsys.readouterr().err
        assert common.run(["maintain", "--home", str(tables.home), "--dry-run"]) == 0
    assert len(data_files(tables.delta(TAG_EMBEDDING))) == 18


@given(st.lists(st.sampled_from(["add", "compact", "overwrite"]), max_size=12), st.data())
def test_covering_versions_have_the_files_of_all(steps: list[str], data: st.DataObject) -> None:
    """Oracle: the sets of files themselves; and no version of the answer can be left out."""
    files, removals = [frozenset[int]()], []
    for number, step in enumerate(steps, start=1):
        if step == "add":
            files.append(files[-1] | {number})
        else:
            files.append(frozenset({number}))
            removals.append(number)
    named = data.draw(st.sets(st.integers(0, len(steps))))
    covering = covering_versions(named, removals)
    union = frozenset[int]().union(*(files[v] for v in named))
    assert frozenset[int]().union(*(files[v] for v in covering)) == union
    assert set(covering) <= named
    assert len(covering) <= len(removals) + 1


CHILD = """
import sys
from datetime import timedelta
from vidtopics.maintenance import maintain, upkeep
from vidtopics.settings import MaintenanceSettings
from vidtopics.tables import Tables
print("ready", flush=True)
sys.stdin.readline()
settings = MaintenanceSettings(keep_versions=timedelta(0))
maintain(Tables(sys.argv[1]), settings)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_moments_change_no_row(tables: Tables, seed: int) -> None:
    """Five runs die by SIGKILL anywhere in their work; each release reads as before, and the next
    run ends it."""
    rng, before, number, died = random.Random(seed), contents(tables), 18, 0
    for turn in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tables.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdin
        assert child.stdout
        child.stdout.readline()
        child.stdin.write(b"\n")
        child.stdin.flush()
        time.sleep(rng.uniform(0, 0.25))
        child.send_signal(signal.SIGKILL)
        died += child.wait() == -signal.SIGKILL
        after = contents(tables)
        assert {key: after[key] for key in before} == before
        if turn == 2:  # enough for another compaction
            for _ in range(17):
                number += 1
                publish(tables, number)
        before = contents(tables)
    assert died
    settings = MaintenanceSettings(keep_versions=NOTHING)
    assert not [m for m in maintain(tables, settings) if m.skipped or m.fault]
    assert not [m for m in maintain(tables, settings) if not m.idle]
    assert contents(tables) == before
