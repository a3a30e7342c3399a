"""`vidtopics rollback`: Redis first, then the tables; what consumers saw is what joins give."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from benchmarks.homes import release_tables
from consumers.training import join_stream
from vidtopics.cli.common import run as command
from vidtopics.contracts import SERVICES, VIDEO_STATISTICS
from vidtopics.failpoints import Crash, armed
from vidtopics.online import OnlineClient, Status
from vidtopics.releases.loads import read_loads
from vidtopics.tables import Commit, Tables
from vidtopics.tables.releases import read_log
from vidtopics.tables.schemas import arrow_schema

IDS = ["a", "b"]


@dataclass
class Home:
    """A home whose releases are in Redis, and what a consumer saw when."""

    tables: Tables
    client: OnlineClient
    seen: list[tuple[int, list[int | None]]]

    def publish(self, clicks: dict[str, int]) -> None:
        """A live run of one job, and its release."""
        now = time.time_ns() // 1000
        rows = [
            {"video_id": v, "video_exposures": 100, "video_clicks": n} for v, n in clicks.items()
        ]
        values = pa.Table.from_pylist(
            rows, schema=arrow_schema(VIDEO_STATISTICS, VIDEO_STATISTICS.columns)
        )
        commit = Commit(VIDEO_STATISTICS.name, now, now, live=True)
        self.tables.publish(replace(VIDEO_STATISTICS, engine="deltalake"), values, commit)
        known_us = self.tables.commits(VIDEO_STATISTICS)[-1].created_us
        time.sleep(max(0, known_us / 1e6 - time.time()))
        assert release_tables(self.tables, as_of_us=now, created_us=known_us, settings="s")

    def ask(self, verb: str, *arguments: str) -> int:
        return command([verb, "--home", str(self.tables.home), *arguments])

    def look(self) -> list[int | None]:
        """What a consumer gets now; noted with the time."""
        features = self.client.read("video_statistics", IDS)
        present = features.status == Status.PRESENT
        clicks = features["video_clicks"].tolist()
        values = [n if p else None for n, p in zip(clicks, present, strict=True)]
        self.seen.append((time.time_ns() // 1000, values))
        time.sleep(0.002)
        return values

    @property
    def states(self) -> list[tuple[int, str]]:
        return [(row.release_id, row.state) for row in read_log(self.tables)]


@pytest.fixture
def home(tmp_path: Path, store: redis.Redis, valkey: str, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Release 1 is good, release 2 bad, and both were served."""
    monkeypatch.setenv("REDIS_URL", valkey)
    made = Home(Tables(tmp_path), OnlineClient(store), [])
    made.publish({"a": 1, "b": 2})
    assert made.ask("materialize") == 0
    assert made.look() == [1, 2]
    made.publish({"a": 99})  # b ends
    assert made.ask("materialize") == 0
    assert made.look() == [99, None]
    return made


def test_consumers_have_the_old_values_and_joins_give_what_they_saw(
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert home.ask("rollback", "--because", "clicks doubled") == 0
    out = capsys.readouterr().out
    assert "Redis serves release 1 again, after 0." in out
    assert "Release 3 is in force (rollback to 1: clicks doubled)" in out
    assert home.look() == [1, 2]
    assert home.states == [(1, "released"), (2, "released"), (2, "rolled_back"), (3, "released")]
    assert [load.release_id for load in read_loads(home.tables)] == [1, 2, 1, 3]
    assert home.ask("materialize") == 0
    assert home.look() == [1, 2]
    times = pa.array([at for at, _ in home.seen for _ in IDS], pa.int64())
    spine = pa.table(
        {
            "video_id": IDS * len(home.seen),
            "event_timestamp": times.cast(pa.timestamp("us", "UTC")),
        }
    )
    joined = join_stream(home.tables, spine.to_reader(), [VIDEO_STATISTICS], served="any")
    expected = [n for _, values in home.seen for n in values]
    assert joined.read_all()["video_clicks"].to_pylist() == expected
    monkeypatch.setitem(SERVICES, "training_v1", (VIDEO_STATISTICS,))
    pq.write_table(spine, tmp_path / "spine.parquet")
    files = [str(tmp_path / "spine.parquet"), str(tmp_path / "out.parquet")]
    assert home.ask("join", *files, "--served") == 0
    assert pq.read_table(files[1])["video_clicks"].to_pylist() == expected
    assert home.ask("join", files[0], str(tmp_path / "again"), "--pins", files[1]) == 0
    assert home.ask("join", files[0], str(tmp_path / "other"), "--store", "x") == 2


def test_the_next_run_goes_on_from_there(home: Home) -> None:
    assert home.ask("rollback", "--because", "bad") == 0
    home.publish({"a": 5, "b": 2})
    assert home.ask("materialize") == 0
    assert home.look() == [5, 2]


@pytest.mark.parametrize("point", ["rollback.taken_back", "rollback.table", "release.committed"])
def test_a_rollback_that_died_is_run_again(home: Home, point: str) -> None:
    with pytest.raises(Crash), armed(point):  # type: ignore[arg-type]
        home.ask("rollback", "--because", "bad")
    assert home.look() == [1, 2]  # Redis was switched first
    assert home.ask("materialize") in (0, 2)
    assert home.look() == [1, 2]  # no round in between brings the bad release
    assert home.ask("rollback", "--because", "bad") == 0
    assert home.look() == [1, 2]
    assert home.states == [(1, "released"), (2, "released"), (2, "rolled_back"), (3, "released")]


def test_a_release_that_redis_has_no_more_comes_with_the_tables(
    home: Home, store: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    store.flushall()
    assert home.ask("materialize") == 0
    capsys.readouterr()
    assert home.ask("rollback", "--because", "bad", "--json") == 0
    captured = capsys.readouterr()
    assert "Redis isn't switched, it follows with the tables" in captured.err
    assert json.loads(captured.out)["release"] == 3
    assert home.look() == [1, 2]


def test_the_keys_of_another_home_are_not_rolled_back(
    home: Home, store: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    for clicks in ({"a": 1}, {"a": 2}):
        home.publish(clicks)
        assert home.ask("materialize") == 0
    owner = json.loads(store.get("vt:{directory}:owner") or b"")
    store.set("vt:{directory}:owner", json.dumps(owner | {"home": "another"}))
    states = home.states
    assert home.ask("rollback", "--because", "slip") == 2
    assert "(another)" in capsys.readouterr().err
    assert (home.look(), home.states) == ([2, None], states)


def test_without_a_release_before_nothing_is_touched(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert home.ask("rollback", "--to", "7", "--because", "bad") == 2
    assert "expected an earlier release that is not rolled back: 1" in capsys.readouterr().err
    assert home.look() == [99, None]
