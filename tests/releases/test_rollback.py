"""Going back: old values as new rows, the bad releases marked, nothing taken out of a table."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.homes import release_tables
from vidtopics.contracts import (
    RELEASES,
    TABLES,
    TAG_COOCCURRENCE,
    TAG_EMBEDDING,
    TOPICS,
    VIDEO_STATISTICS,
    Table,
)
from vidtopics.errors import SettingsError, TableError
from vidtopics.failpoints import Crash, Point, armed
from vidtopics.releases.lock import hold
from vidtopics.releases.rollback import restore, take_back, target_of
from vidtopics.tables import Commit, Tables
from vidtopics.tables.commits import latest_commit
from vidtopics.tables.releases import Release, in_force, read_log
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import micros

Contents = dict[str, list[dict[str, object]]]
T1, T2 = 1_000_000_000, 2_000_000_000
WIDTHS = {"tag_width": 2, "topic_width": 2}


def publish(tables: Tables, table: Table, rows: list[dict[str, object]], commit: Commit) -> None:
    """As its job would, but by delta-rs, whichever engine owns the table."""
    values = pa.Table.from_pylist(rows, schema=arrow_schema(table, table.columns))
    tables.publish(replace(table, engine="deltalake"), values, commit, widths=WIDTHS)


def tag(name: str, videos: int) -> dict[str, object]:
    return {"tag": name, "tag_vector": [1.0, float(videos)], "video_count": videos, "component": 0}


def topic(number: int, epoch: int) -> dict[str, object]:
    row = {"topic_id": number, "centroid": [1.0, 0.0], "size": 1, "label_terms": ["x"]}
    return {**row, "topic_epoch": epoch, "born": T1, "retired": None}


def edge(videos: int) -> dict[str, object]:
    return {"tag_a": "a", "tag_b": "b", "videos": videos, "probability": 1.0}


def views(video: str, clicks: int) -> dict[str, object]:
    counts = {"video_exposures": 10, "video_clicks": clicks}
    return {"video_id": video, **counts}


def run(tables: Tables, at: int, contents: Contents, epoch: int) -> int:
    """A backfill that publishes these values, and its release."""
    for name, rows in contents.items():
        table = TABLES[name]
        facts = {"topic_epoch": epoch, "next_topic_id": 10 * epoch} if table is TOPICS else {}
        commit = Commit(table.name, at, at + 1, facts=facts, content=str((table.name, epoch)))
        publish(tables, table, rows, commit)
    number = release_tables(
        tables, as_of_us=at, created_us=at + 1, settings="s", quality={"topic_epoch": epoch}
    )
    assert number
    return number


GOOD = {
    TAG_EMBEDDING.name: [tag("a", 1), tag("b", 2)],
    TAG_COOCCURRENCE.name: [edge(7)],
    TOPICS.name: [topic(1, 1), topic(2, 1)],
}
BAD = {
    TAG_EMBEDDING.name: [tag("a", 99)],  # b ends
    TAG_COOCCURRENCE.name: [edge(70)],
    TOPICS.name: [topic(3, 2)],
    VIDEO_STATISTICS.name: [views("v", 3)],  # a table of this release alone
}


@pytest.fixture(scope="module")
def two_releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("rollback")
    tables = Tables(home)
    assert (run(tables, T1, GOOD, 1), run(tables, T2, BAD, 2)) == (1, 2)
    return home


@pytest.fixture
def tables(two_releases: Path, tmp_path: Path) -> Tables:
    shutil.copytree(two_releases, tmp_path / "home")
    return Tables(tmp_path / "home")


def roll_back(tables: Tables, number: int | None = None) -> Release:
    """The tables' half of `vidtopics rollback`."""
    target = target_of(tables, number)
    if target.done:
        return target.done
    with hold(tables.home, "vidtopics rollback") as lock:
        take_back(tables, target, "it was bad", lock)
        return restore(tables, target, "it was bad", lock)


def values(tables: Tables, at: int | None = None) -> dict[str, list[dict[str, object]]]:
    """What holds as of a time, now by default, by table."""
    now = time.time_ns() // 1000 + 60_000_000 if at is None else at
    by_table = {}
    for table in (TABLES[name] for name in BAD):
        rows = tables.as_of(table, now) if tables.version(table) else tables.read(table)
        by_table[table.name] = sorted(
            rows.select([c.name for c in table.columns]).to_pylist(), key=str
        )
    return by_table


def states(tables: Tables) -> list[tuple[int, str, str]]:
    return [(row.release_id, row.state, row.why) for row in read_log(tables)]


WHY = "rollback to 1: it was bad"
AFTER = [(1, "released", ""), (2, "released", ""), (2, "rolled_back", WHY), (3, "released", WHY)]


def test_the_values_of_the_release_before_come_back_as_new_rows(tables: Tables) -> None:
    good, bad = values(tables, T1), values(tables, T2)
    assert good["tag_embedding"] != bad["tag_embedding"]
    history = tables.read(TAG_EMBEDDING).to_pylist()
    before_us = time.time_ns() // 1000
    release = roll_back(tables)
    assert values(tables) == {**good, "video_statistics": []}
    assert (values(tables, T1), values(tables, T2)) == (good, bad)  # what consumers saw then
    rows = tables.read(TAG_EMBEDDING).to_pylist()
    assert all(row in rows for row in history)
    new = [row for row in rows if row not in history]
    assert sorted(row["tag"] for row in new) == ["a", "b"]
    assert all(micros(row["event_timestamp"]) >= before_us for row in new)
    assert states(tables) == AFTER
    assert in_force(read_log(tables)) == release
    assert release.versions == tables.data_versions()
    assert release.topic_epoch == 1
    assert all(release.created_us >= micros(row["created_timestamp"]) for row in new)


def test_the_next_run_starts_from_the_release_gone_back_to(tables: Tables) -> None:
    roll_back(tables)
    now = time.time_ns() // 1000
    commit = latest_commit(tables.commits(TOPICS), now)
    assert commit is not None
    # IDs of the bad run are not given again, its epoch is not the one to go on from
    assert commit.facts == {"topic_epoch": 1, "next_topic_id": 20, "rollback_to": "1"}
    between = latest_commit(tables.commits(TOPICS), T2 + 1)
    assert between is not None
    assert between.as_of_us == T1
    assert latest_commit(tables.commits(VIDEO_STATISTICS), now) is None
    assert tables.commits(TAG_COOCCURRENCE)[-1].content == "('tag_cooccurrence', 1)"
    assert run(tables, now, {TAG_EMBEDDING.name: [tag("a", 1)]}, 1) == 4


@pytest.mark.parametrize("point", ["rollback.taken_back", "rollback.table", "release.committed"])
@pytest.mark.parametrize("number", [1, None], ids=["to 1", "to the one before"])
def test_a_rollback_that_died_is_gone_on_with(
    tables: Tables, point: Point, number: int | None
) -> None:
    good = values(tables, T1)
    with pytest.raises(Crash), armed(point):
        roll_back(tables, number)
    assert tables.latest_release()["release_id"] in (1, 3)
    roll_back(tables, number)
    assert values(tables) == {**good, "video_statistics": []}
    assert states(tables) == AFTER


def test_a_crash_between_two_tables_leaves_each_as_it_was_or_as_it_shall_be(tables: Tables) -> None:
    with pytest.raises(Crash), armed("rollback.table"):
        roll_back(tables)
    with pytest.raises(Crash), armed("publish.committed"):
        roll_back(tables)
    roll_back(tables)
    commits = [c for c in tables.commits(TAG_EMBEDDING) if "rollback_to" in c.facts]
    assert [c.rows for c in commits] == [2]
    assert states(tables) == AFTER


def test_the_same_command_again_changes_nothing(tables: Tables) -> None:
    roll_back(tables)
    version, log = tables.version(RELEASES), read_log(tables)
    for number in (None, 3):
        roll_back(tables, number)
    assert (tables.version(RELEASES), read_log(tables)) == (version, log)


def test_several_releases_are_taken_back_at_once(tables: Tables) -> None:
    assert run(tables, 3_000_000_000, {TAG_EMBEDDING.name: [tag("c", 3)]}, 2) == 3
    good = values(tables, T1)
    roll_back(tables, 1)
    assert [row[:2] for row in states(tables)] == [
        (1, "released"),
        (2, "released"),
        (2, "rolled_back"),
        (3, "released"),
        (3, "rolled_back"),
        (4, "released"),
    ]
    assert values(tables) == {**good, "video_statistics": []}
    with pytest.raises(SettingsError, match="--to 2: expected an earlier release that is not"):
        roll_back(tables, 2)
    assert roll_back(tables, 1).release_id == 5  # further back than the rollback itself: to 1 again


def test_there_has_to_be_a_release_before(tmp_path: Path) -> None:
    tables = Tables(tmp_path)
    with pytest.raises(TableError, match="expected a release, found none"):
        target_of(tables, None)
    run(tables, T1, GOOD, 1)
    with pytest.raises(SettingsError, match="found none before 1"):
        target_of(tables, None)
    with pytest.raises(SettingsError, match=r"--to 7: .* found none such"):
        target_of(tables, 7)
