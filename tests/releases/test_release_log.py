"""The release log: which release is in force, and whose row is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from vidtopics.contracts import RELEASES
from vidtopics.errors import BusyError, TableError
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, append, in_force, read_log

FIRST = Release(1, "released", 10, 11, {"topics": 3}, topic_epoch=1)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def test_a_row_comes_back_as_it_was_written(tables: Tables) -> None:
    row = replace(
        FIRST,
        state="rejected",
        quality={"topics": 8.0},
        figures={"topics.rows": 0.0},
        verdicts={"topics.rows": "block: 0 is below 1"},
        by="a@b",
        why="it's a test",
    )
    append(tables, [row], run=1)
    assert read_log(tables) == [row]


# What was written, and the release in force after each step.
STEPS = [
    ((1, "released"), 1),
    ((2, "candidate"), 1),
    ((2, "released"), 2),
    ((3, "rejected"), 2),
    ((4, "released"), 4),
    ((4, "rolled_back"), 2),
    ((5, "released"), 5),
]


def test_the_release_in_force_is_the_latest_that_was_released_and_not_rolled_back(
    tables: Tables,
) -> None:
    for (number, state), expected in STEPS:
        append(tables, [replace(FIRST, release_id=number, state=state)], run=1)
        release = in_force(read_log(tables))
        assert release is not None
        assert (release.release_id, tables.latest_release()["release_id"]) == (expected, expected)


def test_rejected_releases_alone_are_no_release(tables: Tables) -> None:
    append(tables, [replace(FIRST, state="rejected")], run=1)
    with pytest.raises(TableError, match="releases: expected a release, found none"):
        tables.latest_release()


def test_a_rollback_is_one_commit_and_a_repeated_call_adds_nothing(tables: Tables) -> None:
    append(tables, [FIRST, replace(FIRST, release_id=2)], run=1)
    rows = [replace(FIRST, release_id=3), replace(FIRST, release_id=2, state="rolled_back")]
    before = tables.version(RELEASES)
    for _ in range(2):
        append(tables, rows, run=2)
        assert tables.version(RELEASES) == before + 1
    assert [row.release_id for row in read_log(tables)] == [1, 2, 2, 3]


def test_a_run_with_an_older_number_than_the_log_is_refused(tables: Tables) -> None:
    append(tables, [FIRST], run=8)
    with pytest.raises(BusyError, match="overtaken: run 8 has written since"):
        append(tables, [replace(FIRST, release_id=2)], run=7)
    append(tables, [replace(FIRST, release_id=2)], run=8)
    assert len(read_log(tables)) == 2
