"""A publish that dies leaves the last good state; the rerun gives an undisturbed run's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worlds import at, impressions, rows_of, tags

from benchmarks.homes import release_tables
from vidtopics.contracts import IMPRESSIONS, RELEASES, TAG_EMBEDDING
from vidtopics.errors import ConflictError
from vidtopics.failpoints import POINTS, VARIABLE, Crash, armed
from vidtopics.tables import Tables, deltalake_engine

WIDTHS = {"tag_width": 2}
RUNS = [(10, {"a": 1, "b": 2}), (20, {"a": 3}), (30, {"a": 3, "c": 4})]

PUBLISHING = [point for point in POINTS if point.startswith(("publish.", "release."))]


def job(tables: Tables, event: int, values: dict[str, int]) -> None:
    """What a job does: skip where it is done, else publish; then release."""
    commit = at(event, settings="s")
    if not tables.is_done(TAG_EMBEDDING, commit):
        tables.publish(TAG_EMBEDDING, tags(values), commit, widths=WIDTHS)
    release_tables(tables, as_of_us=event, created_us=event + 1, settings="s")


def state(tables: Tables) -> tuple[object, ...]:
    """All that readers can see: rows, runs and releases."""
    releases = sorted(
        (r["release_id"], tuple(r["versions"])) for r in tables.read(RELEASES).to_pylist()
    )
    runs = [(c.as_of_us, c.rows, c.ordinal, c.skip_key) for c in tables.commits(TAG_EMBEDDING)]
    return rows_of(tables, TAG_EMBEDDING, "video_count"), runs, releases


def undisturbed(home: Path) -> tuple[object, ...]:
    tables = Tables(home)
    for event, values in RUNS:
        job(tables, event, values)
    return state(tables)


@pytest.mark.parametrize("point", PUBLISHING)
@pytest.mark.parametrize("run", range(len(RUNS)))
def test_a_crash_at_every_step_loses_and_doubles_nothing(
    tmp_path: Path, point: str, run: int
) -> None:
    tables = Tables(tmp_path / "home")
    for event, values in RUNS[:run]:
        job(tables, event, values)
    before = state(tables)
    with pytest.raises(Crash), armed(point):  # type: ignore[arg-type]
        job(tables, *RUNS[run])
    if point in ("publish.read", "publish.compared"):
        assert state(tables) == before
    else:
        assert state(tables)[0] != before[0]  # committed, whether or not it was released
    if point != "release.committed":
        assert state(tables)[2] == before[2]  # consumers still see the last release
    for event, values in RUNS[run:]:
        job(tables, event, values)
    assert state(tables) == undisturbed(tmp_path / "other")


def test_two_writers_from_one_version_do_not_both_win(tmp_path: Path) -> None:
    """delta-rs alone would append the second one's rows on top, under the same number."""
    tables = Tables(tmp_path)
    tables.publish(IMPRESSIONS, impressions(("x", 1, 1)), at(5))
    stale = tables.delta(IMPRESSIONS)
    tables.publish(IMPRESSIONS, impressions(("y", 2, 2)), at(6))
    late = iter(impressions(("y", 2, 2)).to_batches())
    with pytest.raises(ConflictError, match="expected version 1 as the latest"):
        deltalake_engine.append(IMPRESSIONS, stale, late, at(6, ordinal=2))
    assert [r[0] for r in rows_of(tables, IMPRESSIONS, "position")] == ["x", "y"]


def test_a_conflict_is_followed_by_another_try_from_the_new_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, intruder = Tables(tmp_path), Tables(tmp_path)
    tables.publish(IMPRESSIONS, impressions(("x", 1, 1)), at(5))
    real, calls = deltalake_engine.append, []

    def append(*args: object) -> object:
        calls.append(len(calls))
        if len(calls) == 1:  # between comparing and committing another delivery brings y
            intruder.publish(IMPRESSIONS, impressions(("y", 2, 2)), at(6, job="other"))
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(deltalake_engine, "append", append)
    assert tables.publish(IMPRESSIONS, impressions(("y", 2, 2), ("z", 3, 3)), at(7)).rows == 1
    assert len(calls) == 3
    assert [r[0] for r in rows_of(tables, IMPRESSIONS, "position")] == ["x", "y", "z"]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_crashes import RUNS, job
from vidtopics.tables import Tables
tables = Tables(sys.argv[1])
print("ready", flush=True)
for event, values in RUNS:
    job(tables, event, values)
"""


def writer(home: Path, **variables: str) -> subprocess.Popen[bytes]:
    script = WRITER.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(home)],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("point", PUBLISHING)
def test_a_killed_process_at_every_step_is_made_good_by_the_next(
    tmp_path: Path, point: str
) -> None:
    process = writer(tmp_path / "home", **{VARIABLE: point})
    assert process.wait(60) == -signal.SIGKILL
    assert writer(tmp_path / "home").wait(60) == 0
    assert state(Tables(tmp_path / "home")) == undisturbed(tmp_path / "other")


@pytest.mark.slow
def test_random_kills_of_the_writer_lose_and_double_nothing(tmp_path: Path) -> None:
    """Twenty kills at random moments, each followed by a run; every table readable in between."""
    expected = undisturbed(tmp_path / "other")
    began = time.monotonic()
    assert writer(tmp_path / "timing").wait(60) == 0
    length, moments, landed = time.monotonic() - began, random.Random(7), 0
    for i in range(4):
        home = tmp_path / f"home{i}"
        for _ in range(5):
            process = writer(home)
            time.sleep(moments.uniform(0, length / 2))
            process.kill()
            landed += process.wait(60) == -signal.SIGKILL
            rows = rows_of(Tables(home), TAG_EMBEDDING, "video_count")
            assert len({row[:3] for row in rows}) == len(rows)
        assert writer(home).wait(60) == 0
        assert state(Tables(home)) == expected
    assert landed >= 5
