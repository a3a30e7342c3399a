"""Rows that reached Redis above the watermark and that the table then lost go as all others."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import redis
from online_home import SETTINGS, OnlineHome
from test_table_rules import generation, online, run, settled, unprotected

from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.failpoints import Crash, armed
from vidtopics.materialization import Span, backfill

LATER = (time.time_ns() + 3600 * 10**9) // 1000
WHY = "rows were taken out of the table"


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> OnlineHome:
    """a is loaded; b and c are in the next release."""
    monkeypatch.setattr("vidtopics.materialization.writer.BATCH", 1)
    home = OnlineHome(tmp_path / "home")
    home.statistics(("a", 1, 1, 10))
    assert run(home, store).written == 1
    return home


def die(home: OnlineHome, store: redis.Redis) -> None:
    """A run that has written its rows and no watermark."""
    home.release()
    with pytest.raises(Crash), armed("materialize.batch"):
        home.run(store)


def gone(home: OnlineHome, store: redis.Redis, videos: str, left: dict[str, int | None]) -> None:
    """Delete videos, add d: the next run makes the view anew."""
    unprotected(home).delete(f"video_id in ({videos})")
    home.statistics(("d", 3, 3, 40))
    assert run(home, store).why == WHY
    assert (online(store), generation(store)) == (left | {"d": 40}, 2)


def test_beside_rows_that_are_not_due(home: OnlineHome, store: redis.Redis) -> None:
    home.statistics(("b", 2, 2, 20), ("c", LATER, LATER, 30))
    assert run(home, store).written == 1
    gone(home, store, "'b', 'c'", {"a": 10})
    assert settled(home, store)


def test_of_a_run_that_died(home: OnlineHome, store: redis.Redis) -> None:
    home.statistics(("b", 2, 2, 20), ("c", 2, 2, 30))
    die(home, store)
    assert online(store) == {"a": 10}
    gone(home, store, "'b', 'c'", {"a": 10})


def test_of_two_runs_that_died(home: OnlineHome, store: redis.Redis) -> None:
    for row in (("b", 2, 2, 20), ("c", 2, 2, 30)):
        home.statistics(row)
        die(home, store)
    gone(home, store, "'b'", {"a": 10, "c": 30})


def test_of_a_first_load_that_left_rows_out(store: redis.Redis, tmp_path: Path) -> None:
    home = OnlineHome(tmp_path / "first")
    home.statistics(("a", 1, 1, 10), ("b", 1, 1, 20), ("c", LATER, LATER, 30))
    assert run(home, store).written == 2
    gone(home, store, "'b', 'c'", {"a": 10})


def test_of_a_first_load_that_died(
    store: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtopics.materialization.writer.BATCH", 1)
    home = OnlineHome(tmp_path / "first")
    home.statistics(("a", 1, 1, 10), ("b", 1, 1, 20))
    die(home, store)
    assert online(store) == {}
    gone(home, store, "'b'", {"a": 10})


def test_a_range_is_of_the_live_release(home: OnlineHome, store: redis.Redis) -> None:
    home.statistics(("b", 2, 2, 20))
    home.release()
    backfill(home.tables, store, SETTINGS, Span(0, 10))
    assert online(store) == {"a": 10}
    unprotected(home).delete("video_id = 'b'")
    home.statistics(("d", 3, 3, 40))
    assert run(home, store).why == ""  # b never reached Redis
    assert online(store) == {"a": 10, "d": 40}


def test_of_a_run_that_died_before_a_restore(home: OnlineHome, store: redis.Redis) -> None:
    first = home.tables.delta(VIDEO_STATISTICS).version()
    home.statistics(("b", 2, 2, 20))
    die(home, store)
    unprotected(home).restore(first)
    home.statistics(("d", 3, 3, 40))
    assert run(home, store).why == WHY
    assert online(store) == {"a": 10, "d": 40}


def test_where_the_half_loaded_version_does_not_open_any_more(
    home: OnlineHome, store: redis.Redis
) -> None:
    home.statistics(("b", 2, 2, 20))
    die(home, store)
    home.statistics(("c", 2, 2, 30))
    delta = home.tables.delta(VIDEO_STATISTICS)
    delta.create_checkpoint()
    for version in range(delta.version()):
        (home.root / "tables" / "video_statistics" / "_delta_log" / f"{version:020}.json").unlink()
    assert "can't be opened any more" in run(home, store).why
    assert online(store) == {"a": 10, "b": 20, "c": 30}


def test_runs_that_leave_rows_out_note_two_versions_at_most(
    home: OnlineHome, store: redis.Redis
) -> None:
    """A row that is due in a year must not have every round open all versions since."""
    home.statistics(("b", LATER, LATER, 20))
    for n in range(3):
        home.statistics(("c", 2, n, 30 + n))
        run(home, store)
    note = store.hget("vt:{directory}:sources", "video_statistics")
    assert note is not None
    assert [
        home.tables.delta(VIDEO_STATISTICS).version() - int(v) for v in json.loads(note)["versions"]
    ] == [4, 0]
