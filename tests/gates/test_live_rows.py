"""The candidate's live rows, from those of before and the files since: each file is read once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from deltalake import write_deltalake
from gate_worlds import World, statistics
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.gates.versions import Releases, opened

NAME = VIDEO_STATISTICS.name
COMMITS = st.lists(
    st.tuples(st.integers(0, 9), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3))),
    min_size=2,
    max_size=5,
)


def put(world: World, event: int, values: dict[str, int]) -> int:
    """A commit as of a time, known later than all before; 0 ends a video."""
    rows = [statistics(v, n) if n else {"video_id": v} for v, n in values.items()]
    return world.put(VIDEO_STATISTICS, rows, event=event, created=100 + world.us)


def live(commits: list[tuple[int, dict[str, int]]]) -> dict[str, int]:
    """By hand: of each video the value of the latest (event, commit), if that isn't an end."""
    latest: dict[str, tuple[int, int, int]] = {}
    for number, (event, values) in enumerate(commits):
        for video, value in values.items():
            latest[video] = max(latest.get(video, (-1, -1, 0)), (event, number, value))
    return {video: value for video, (*_, value) in latest.items() if value}


def exposures(releases: Releases, relation: str) -> dict[str, int]:
    query = f"SELECT video_id, key_text, video_exposures FROM {relation}"
    rows = releases.con.execute(query).fetchall()
    assert all(key == text for key, text, _ in rows)
    assert len({key for key, *_ in rows}) == len(rows)
    return {key: value for key, _, value in rows}


@settings(max_examples=40, deadline=None)
@given(COMMITS, st.integers(0, 3), st.booleans())
def test_live_rows_of_both_releases_are_those_of_all_commits(commits, cut, is_compacted):
    cut = min(cut, len(commits) - 1)
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        versions = [put(world, *commit) for commit in commits]
        if is_compacted:
            world.tables.delta(VIDEO_STATISTICS).optimize.compact()
        after = world.tables.version(VIDEO_STATISTICS)
        before = {NAME: versions[cut - 1]} if cut else None
        with opened(world.tables, before, {NAME: after}) as releases:
            assert exposures(releases, releases.new(VIDEO_STATISTICS)) == live(commits)
            assert exposures(releases, releases.old(VIDEO_STATISTICS)) == live(commits[:cut])


def test_rows_that_a_rewrite_left_out_are_not_live(tmp_path: Path) -> None:
    """The candidate lacks a file of the release in force: nothing is taken over from before."""
    world = World(tmp_path)
    before = put(world, 1, {"a": 1, "b": 1})
    rows = world.tables.read(VIDEO_STATISTICS).filter(ds.field("video_id") == "b")
    delta = world.tables.delta(VIDEO_STATISTICS)
    delta.alter.set_table_properties({"delta.appendOnly": "false"})
    write_deltalake(delta, rows, mode="overwrite")
    after = world.tables.version(VIDEO_STATISTICS)
    with opened(world.tables, {NAME: before}, {NAME: after}) as releases:
        assert exposures(releases, releases.new(VIDEO_STATISTICS)) == {"b": 1}
        assert exposures(releases, releases.old(VIDEO_STATISTICS)) == {"a": 1, "b": 1}


def test_files_of_both_releases_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = World(tmp_path)
    before = put(world, 1, dict.fromkeys("abcd", 1))
    after = put(world, 2, {"a": 2})
    read: list[int] = []
    create = Releases._create

    def create_and_count(self, table, name, rows, version):
        read.append(rows.count_rows())
        create(self, table, name, rows, version)

    monkeypatch.setattr(Releases, "_create", create_and_count)
    with opened(world.tables, {NAME: before}, {NAME: after}) as releases:
        for _ in range(2):
            assert len(exposures(releases, releases.new(VIDEO_STATISTICS))) == 4
            releases.old(VIDEO_STATISTICS)
    assert read == [4, 1]
