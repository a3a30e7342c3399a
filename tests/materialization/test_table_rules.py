"""What a run does about a table's changes: a test for each rule of docs/materialization.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import redis
from deltalake import CommitProperties, DeltaTable, write_deltalake
from online_home import SETTINGS, OnlineHome, dump

from benchmarks.homes import release_tables
from vidtopics.contracts import TOPIC_QUEUES, USER_RECENT_CLICKS, VIDEO_STATISTICS
from vidtopics.errors import TableError
from vidtopics.materialization import Moved, Span, backfill, preview
from vidtopics.materialization.reconcile import reconcile
from vidtopics.online import OnlineClient, Status

VIDEOS = ["a", "b", "c", "d"]
FIRST, SECOND = (("a", 1, 1, 10), ("b", 1, 1, 20)), (("a", 2, 2, 11), ("c", 2, 2, 30))


@pytest.fixture
def home(tmp_path: Path) -> OnlineHome:
    """Two commits, each in a release of its own."""
    return OnlineHome(tmp_path / "home")


@pytest.fixture
def loaded(home: OnlineHome, store: redis.Redis) -> OnlineHome:
    for rows in (FIRST, SECOND):
        home.statistics(*rows)
        home.release()
        home.run(store)
    assert online(store) == {"a": 11, "b": 20, "c": 30}
    return home


def online(store: redis.Redis) -> dict[str, int | None]:
    """Exposures (None: ended) of each video that Redis knows."""
    features = OnlineClient(store).read("video_statistics", VIDEOS)
    assert not (features.status == Status.UNREADABLE).any()
    rows = zip(VIDEOS, features.status, features["video_exposures"].tolist(), strict=True)
    return {v: n if s == Status.PRESENT else None for v, s, n in rows if s != Status.NOT_FOUND}


def generation(store: redis.Redis) -> int:
    return OnlineClient(store).directory().view("video_statistics").generation


def run(home: OnlineHome, store: redis.Redis) -> Moved:
    """A release, if there is something for one, and a run."""
    if release_tables(home.tables, as_of_us=99, created_us=99, settings="s"):
        home.releases += 1
    return home.run(store)["video_statistics"]


def settled(home: OnlineHome, store: redis.Redis) -> bool:
    """Whether the next run finds nothing to do and no generation but the live one has a key."""
    others = [
        k
        for k in store.scan_iter(match="vt:[0-9]*")
        if not k.startswith(b"vt:%d:" % generation(store))
    ]
    return home.run(store)["video_statistics"].up_to_date and not others


def delta(home: OnlineHome) -> DeltaTable:
    return home.tables.delta(VIDEO_STATISTICS)


def folder(home: OnlineHome) -> Path:
    return home.root / "tables" / "video_statistics"


def vacuum(home: OnlineHome) -> None:
    assert delta(home).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)


def test_compaction_is_read_again_and_changes_nothing(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    delta(loaded).optimize.compact()
    loaded.statistics(("d", 3, 3, 40))
    moved = run(loaded, store)
    # the compacted file has all 4 rows of 3 videos, and one came: the latest of each is written
    # (over itself)
    assert (moved.read, moved.written, moved.why) == (5, 4, "")
    assert (online(store), generation(store)) == ({"a": 11, "b": 20, "c": 30, "d": 40}, 1)
    assert settled(loaded, store)


def test_a_compaction_alone_makes_no_release(loaded: OnlineHome, store: redis.Redis) -> None:
    delta(loaded).optimize.compact()
    assert run(loaded, store).up_to_date


def test_files_that_a_vacuum_took_are_not_missed(loaded: OnlineHome, store: redis.Redis) -> None:
    delta(loaded).optimize.compact()
    vacuum(loaded)
    loaded.statistics(("d", 3, 3, 40))
    assert (run(loaded, store).written, generation(store)) == (4, 1)
    assert online(store) == {"a": 11, "b": 20, "c": 30, "d": 40}


def compacted(home: OnlineHome) -> None:
    """Its rows are in other files, and those that the release names are gone."""
    delta(home).optimize.compact()
    vacuum(home)


def test_full_reads_a_release_that_was_compacted_and_vacuumed(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    compacted(loaded)
    moved = loaded.run(store, full=True)["video_statistics"]
    assert (moved.read, moved.written, moved.why) == (4, 3, "asked for")
    assert (online(store), generation(store)) == ({"a": 11, "b": 20, "c": 30}, 2)
    assert settled(loaded, store)
    loaded.statistics(("d", 3, 3, 40))
    assert (run(loaded, store).why, online(store)) == ("", {"a": 11, "b": 20, "c": 30, "d": 40})


def test_a_first_load_reads_a_release_that_was_compacted_and_vacuumed(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    whole = dump(store)
    compacted(loaded)
    store.flushall()
    assert loaded.run(store)["video_statistics"].written == 3
    assert dump(store) == whole  # watermarks and notes too: they are of the release's version
    assert settled(loaded, store)


def test_news_that_were_compacted_and_vacuumed_are_read(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    loaded.statistics(("d", 3, 3, 40))
    loaded.release()
    compacted(loaded)
    planned = {m.name: m for m in preview(loaded.tables, store, SETTINGS)}["video_statistics"]
    moved = run(loaded, store)
    assert (planned.read, planned.written) == (moved.read, moved.written) == (5, 4)
    assert online(store) == {"a": 11, "b": 20, "c": 30, "d": 40}
    assert settled(loaded, store)


def test_a_range_and_the_nightly_check_read_it_too(loaded: OnlineHome, store: redis.Redis) -> None:
    compacted(loaded)
    assert backfill(loaded.tables, store, SETTINGS, Span(2, 3))[0].read == 4
    (result,) = reconcile(loaded.tables, store, SETTINGS)
    assert (result.live, result.compared, result.faults) == (3, 3, {})


def test_lists_of_a_release_that_was_compacted_and_vacuumed(
    home: OnlineHome, store: redis.Redis
) -> None:
    home.clicks(a=["v"], b=["w"])
    home.queues({1: ["v", "w"]})
    home.release()
    for table, key in ((USER_RECENT_CLICKS, "user_id"), (TOPIC_QUEUES, "topic_id")):
        delta_table = home.tables.delta(table)
        delta_table.optimize.z_order([key])
        assert delta_table.vacuum(
            retention_hours=0, dry_run=False, enforce_retention_duration=False
        )
    home.run(store)
    client = OnlineClient(store)
    assert (client.recent_clicks("b"), client.queues([1], epoch=1, limit=9)) == (
        ["w"],
        [["v", "w"]],
    )
    assert not any(delta_table.faults for delta_table in reconcile(home.tables, store, SETTINGS))
    assert all(moved.up_to_date for moved in home.run(store).values())


@pytest.mark.parametrize(
    "since", ["rows were added", "rows were deleted", "a commit whose entry is gone"]
)
def test_rows_that_cannot_be_told_from_later_ones_are_not_read(
    loaded: OnlineHome, store: redis.Redis, since: str
) -> None:
    if since == "rows were added":
        loaded.statistics(("d", 3, 3, 40))
    elif since == "rows were deleted":
        unprotected(loaded).delete("video_id = 'c'")
    compacted(loaded)
    if since == "a commit whose entry is gone":
        delta(loaded).create_checkpoint()
        (folder(loaded) / "_delta_log" / f"{3:020}.json").unlink()
    with pytest.raises(
        TableError,
        match=r"version 2: expected all its data files, whole, found .*parquet.*vidtopics run",
    ):
        loaded.run(store, full=True)
    assert online(store) == {"a": 11, "b": 20, "c": 30}
    loaded.statistics(("d", 4, 4, 41))  # as the mend says: with a release of its own
    run(loaded, store)
    assert online(store)["d"] == 41


def test_a_log_that_was_cleaned_above_the_watermark_means_a_new_generation(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    loaded.statistics(("a", 3, 3, 12))
    delta(loaded).create_checkpoint()
    loaded.statistics(("d", 4, 4, 40))
    for version in (0, 1, 2):
        (folder(loaded) / "_delta_log" / f"{version:020}.json").unlink()
    moved = run(loaded, store)
    assert (moved.read, moved.written, moved.why) == (6, 4, "version 2 can't be opened any more")
    assert (online(store), generation(store)) == ({"a": 12, "b": 20, "c": 30, "d": 40}, 2)
    assert settled(loaded, store)


def test_a_new_table_under_the_path_takes_back_what_it_lacks(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    shutil.rmtree(folder(loaded))
    for rows in ((("c", 1, 1, 7),), (("d", 1, 1, 40),), (("d", 3, 3, 41),)):
        loaded.statistics(*rows)
    moved = run(loaded, store)  # version 3 of another table: its 1 and 2 aren't taken for known
    assert (moved.read, moved.written, moved.why) == (3, 2, "another table under the path")
    assert (online(store), generation(store)) == ({"c": 7, "d": 41}, 2)
    assert settled(loaded, store)


def test_a_new_table_with_as_many_commits_is_noticed(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    shutil.rmtree(loaded.root / "tables")
    loaded.releases = 0
    for row in (("a", 1, 1, 1), ("b", 1, 1, 2)):
        loaded.statistics(row)
    assert run(loaded, store).why == "another table under the path"
    assert online(store) == {"a": 1, "b": 2}
    assert settled(loaded, store)


def test_restore_takes_back_what_came_since(loaded: OnlineHome, store: redis.Redis) -> None:
    delta(loaded).restore(1)
    loaded.statistics(("d", 9, 9, 40))
    moved = run(loaded, store)
    assert (moved.read, moved.written, moved.why) == (3, 3, "rows were taken out of the table")
    assert (online(store), generation(store)) == ({"a": 10, "b": 20, "d": 40}, 2)
    assert settled(loaded, store)


def test_a_restore_that_was_undone_is_no_change(loaded: OnlineHome, store: redis.Redis) -> None:
    delta(loaded).restore(1)
    delta(loaded).restore(2)
    loaded.statistics(("d", 9, 9, 40))
    moved = run(loaded, store)
    assert (moved.read, moved.written, moved.why, generation(store)) == (1, 1, "", 1)


def test_a_folder_put_back_from_a_backup_takes_back_what_came_since(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    shutil.copytree(loaded.root / "tables", loaded.root / "backup")
    loaded.statistics(("b", 5, 5, 21), ("d", 5, 5, 40))
    assert run(loaded, store).written == 2
    shutil.rmtree(loaded.root / "tables")
    (loaded.root / "backup").rename(loaded.root / "tables")
    assert run(loaded, store).why == "the table is at an older version than was loaded"
    assert (online(store), generation(store)) == ({"a": 11, "b": 20, "c": 30}, 2)
    assert settled(loaded, store)


def test_a_backup_that_went_on_otherwise_is_noticed(loaded: OnlineHome, store: redis.Redis) -> None:
    """The same table and version number, other rows under it."""
    shutil.copytree(loaded.root / "tables", loaded.root / "backup")
    loaded.statistics(("b", 5, 5, 21))
    run(loaded, store)
    shutil.rmtree(loaded.root / "tables")
    (loaded.root / "backup").rename(loaded.root / "tables")
    loaded.statistics(("c", 6, 6, 31))
    assert delta(loaded).version() == 3
    assert run(loaded, store).why == "version 3 is not the one that was loaded"
    assert online(store) == {"a": 11, "b": 20, "c": 31}
    loaded.statistics(("d", 6, 6, 40))
    assert (run(loaded, store).read, online(store)) == (1, {"a": 11, "b": 20, "c": 31, "d": 40})


def unprotected(home: OnlineHome) -> DeltaTable:
    delta_table = delta(home)
    delta_table.alter.set_table_properties({"delta.appendOnly": "false"})
    return delta_table


def test_deleted_rows_go(loaded: OnlineHome, store: redis.Redis) -> None:
    unprotected(loaded).delete("video_id = 'c'")
    loaded.statistics(("d", 3, 3, 40))
    assert run(loaded, store).why == "rows were taken out of the table"
    assert (online(store), generation(store)) == ({"a": 11, "b": 20, "d": 40}, 2)
    assert settled(loaded, store)


def test_an_overwrite_goes_to_a_new_generation(loaded: OnlineHome, store: redis.Redis) -> None:
    rows = loaded.tables.read(VIDEO_STATISTICS).slice(0, 1)
    write_deltalake(
        unprotected(loaded), rows, mode="overwrite", commit_properties=CommitProperties()
    )
    loaded.statistics(("d", 3, 3, 40))
    assert (run(loaded, store).why, len(online(store))) == ("rows were taken out of the table", 2)


def test_a_commit_whose_entry_is_gone_counts_as_one_that_took_rows(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    delta(loaded).optimize.compact()
    loaded.statistics(("d", 3, 3, 40))
    delta(loaded).create_checkpoint()
    (folder(loaded) / "_delta_log" / f"{3:020}.json").unlink()
    assert run(loaded, store).why == "rows were taken out of the table"
    assert online(store) == {"a": 11, "b": 20, "c": 30, "d": 40}


def test_a_data_file_that_is_gone_is_named_and_nothing_moves(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    before = set(folder(loaded).glob("*.parquet"))
    loaded.statistics(("a", 3, 3, 12))
    (lost,) = set(folder(loaded).glob("*.parquet")) - before
    moved = lost.rename(loaded.root / lost.name)
    with pytest.raises(
        TableError,
        match=rf"video_statistics, version 3: expected all its data files, .*{lost.name}",
    ):
        run(loaded, store)
    assert online(store) == {"a": 11, "b": 20, "c": 30}
    moved.rename(lost)
    assert (run(loaded, store).read, online(store)["a"]) == (1, 12)


@pytest.mark.parametrize(
    "name", ["topic_queues", "user_recent_clicks", "releases", "video_statistics"]
)
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_data_file_that_is_gone_or_cut_is_an_error_that_says_so(
    home: OnlineHome, store: redis.Redis, name: str, damage: str
) -> None:
    home.statistics(*FIRST)
    home.clicks(a=["v"])
    home.queues({1: ["v"]})
    home.release()
    for file in (home.root / "tables" / name).glob("*.parquet"):
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(
        TableError, match=rf"^{name}.*: expected all its data files, whole, found .*parquet"
    ):
        home.run(store)


def test_an_old_file_that_is_gone_is_not_asked_for(loaded: OnlineHome, store: redis.Redis) -> None:
    for file in folder(loaded).glob("*.parquet"):
        file.unlink()
    loaded.statistics(("a", 3, 3, 12))
    assert (run(loaded, store).read, online(store)) == (1, {"a": 12, "b": 20, "c": 30})


def test_a_version_that_a_release_names_and_that_does_not_open(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    shutil.rmtree(folder(loaded))
    loaded.statistics(*FIRST)
    with pytest.raises(
        TableError,
        match="video_statistics, version 2 of its release: expected a version that opens",
    ):
        loaded.run(store)


def test_full_fills_a_new_generation(loaded: OnlineHome, store: redis.Redis) -> None:
    for key in store.scan_iter(match="vt:1:1:{*"):
        store.delete(key)
    assert (loaded.run(store)["video_statistics"].up_to_date, online(store)) == (True, {})
    moved = loaded.run(store, full=True)["video_statistics"]
    assert (moved.read, moved.written, moved.why) == (4, 3, "asked for")
    assert (online(store), generation(store)) == ({"a": 11, "b": 20, "c": 30}, 2)
    assert settled(loaded, store)


def test_releases_that_are_counted_anew_move_watermarks_as_before(
    loaded: OnlineHome, store: redis.Redis
) -> None:
    """The releases came from a backup, or were lost; the view's table did not."""
    for _ in range(3):
        loaded.topics(("a", 1, 1, 1))
        loaded.release()
    loaded.run(store)
    loaded.statistics(("d", 3, 3, 40))
    loaded.release()
    loaded.run(store)  # under the watermark of release 6
    shutil.rmtree(loaded.root / "tables" / "releases")
    loaded.statistics(("d", 4, 4, 41))
    loaded.releases = 0
    loaded.release()
    assert loaded.run(store)["video_statistics"].written == 1
    assert online(store)["d"] == 41
    assert settled(loaded, store)


def test_rows_of_a_type_that_the_table_lacks_are_never_made_up(
    home: OnlineHome, store: redis.Redis
) -> None:
    """Deletion vectors hide rows of a file that this reader would serve: it refuses the table."""
    home.statistics(*FIRST)
    home.release()
    log = folder(home) / "_delta_log" / f"{1:020}.json"
    protocol = (
        '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,'
        '"readerFeatures":["deletionVectors"],'
        '"writerFeatures":["deletionVectors","appendOnly"]}}'
    )
    log.write_text(log.read_text() + protocol + "\n")
    with pytest.raises(
        TableError, match=r"whose files alone say what its rows are, found .*deletionVectors"
    ):
        home.run(store)


def test_mapped_columns_are_refused(home: OnlineHome, store: redis.Redis) -> None:
    """Their files name columns otherwise than the table does; the scan would read nulls."""
    home.statistics(*FIRST)
    home.release()
    log = folder(home) / "_delta_log"
    actions = [json.loads(line) for line in (log / f"{0:020}.json").read_text().splitlines()]
    metadata = next(a for a in actions if "metaData" in a)
    metadata["metaData"]["configuration"]["delta.columnMapping.mode"] = "name"
    schema = json.loads(metadata["metaData"]["schemaString"])
    for i, field in enumerate(schema["fields"]):
        field["metadata"] = {
            "delta.columnMapping.id": i,
            "delta.columnMapping.physicalName": f"col-{i}",
        }
    metadata["metaData"]["schemaString"] = json.dumps(schema)
    first = log / f"{1:020}.json"
    protocol = {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}
    first.write_text(first.read_text() + json.dumps(metadata) + "\n" + json.dumps(protocol) + "\n")
    with pytest.raises(
        TableError, match=r"whose files alone say what its rows are, found .*columnMapping"
    ):
        home.run(store)
