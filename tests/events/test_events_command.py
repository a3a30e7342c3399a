"""`vidtopics events` as its user types it, and what it says where something is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pytest
import redis
from events_home import SETTINGS, SmallHome, now_us
from live_worlds import Shown, sent

from vidtopics import server
from vidtopics.cli import event_service, homes
from vidtopics.cli.common import run
from vidtopics.contracts import CLICKS, IMPRESSIONS
from vidtopics.jobs.job import Run
from vidtopics.online import OnlineClient
from vidtopics.online.connections import connect
from vidtopics.online.events import EventClient
from vidtopics.times import micros


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with a release in its own server."""
    small = SmallHome(tmp_path_factory.mktemp("commands"))
    small.deliver([Shown("d1", "u1", "v1", now_us() - 9_000_000, 1, now_us() - 8_000_000)])
    small.release()
    path = small.tables.home
    homes.keep(path, SETTINGS)
    with connect(server.start(path)) as connection:
        small.load(connection)
    yield path
    server.stop(path)


def test_events_of_a_file_are_sent_applied_landed_and_shown(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"event_id": "f1", "user_id": "u1", "video_id": "v2", "event_timestamp": now_us() / 1e6}
        | {"clicked": 1, "clicked_at": now_us() / 1e6, "watch_seconds": 2},
        Shown("f2", "u2", "v2", now_us(), 1).impression(),
        {"kind": "view"},
    ]
    file = tmp_path / "today.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + "no json\n")
    options = ["--home", str(home)]
    assert run(["events", "replay", str(file), *options]) == 1
    out = capsys.readouterr().out
    assert "3 events acknowledged" in out
    assert "refused 1 bad_kind, the first: expected kind impression, click or watch" in out
    assert "refused 1 no_event" in out

    assert run(["events", "apply", "--once", "--json", *options]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["applied"] == 6
    assert (done["landed"]["impressions"], done["landed"]["clicks"]) == (2, 1)
    assert done["landed"]["refused"] == {"bad_kind": 1, "no_event": 1}
    with connect(server.start(home)) as connection:
        seen = OnlineClient(connection).live_statistics(["v1", "v2"])
    assert (seen.exposures.tolist(), seen.clicks.tolist()) == ([1, 2], [1, 1])
    assert SmallHome(home.parent).tables.read(IMPRESSIONS).num_rows == 3

    assert run(["events", "tail", "--last", "2", *options]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["kind"], line["event_id"]) for line in lines] == [
        ("click", "f1"),
        ("impression", "f2"),
    ]
    assert lines[0]["watch_seconds"] == "2.0"

    assert run(["events", "status", *options]) == 0
    out = capsys.readouterr().out
    assert "streams: 3 events, 2 dead letters" in out
    assert "not landed: 0 events" in out
    assert "users: 3 applied; behind by 0 ms" in out


def test_a_store_that_nothing_was_loaded_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "empty"
    (home / "tables").mkdir(parents=True)
    file = tmp_path / "none.jsonl"
    file.write_text("{}\n")
    try:
        for verb in (["status"], ["tail"], ["replay", str(file)]):
            assert run(["events", *verb, "--home", str(home)]) == 2
            error = capsys.readouterr().err
            assert "vidtopics materialize" in error
            assert "Traceback" not in error
    finally:
        server.stop(home)


def test_a_file_of_another_kind(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.xlsx"
    file.write_text("")
    assert run(["events", "replay", str(file), "--home", str(home)]) == 2
    assert "found .xlsx" in capsys.readouterr().err


def test_a_csv_of_the_ingest_format(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = now_us() / 1e6
    file = tmp_path / "rows.csv"
    file.write_text(
        "user_id,video_id,event_timestamp,clicked,event_id,position,created_timestamp\n"
        f"u1,v3,{at},0,c1,1,\nu1,v3,{at},1,c2,2,\nu1,v3,{at},true,,3,\n"
    )
    assert run(["events", "replay", str(file), "--json", "--home", str(home)]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"acknowledged": 3, "refused": {"empty_id": 2}}


def test_a_run_waits_for_events_under_way_then_lands_what_redis_has(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["events", "apply", "--once", "--home", str(home)]) == 0
    tables, counted, waits = SmallHome(home.parent).tables, [], []

    def jobs(planned: Run, names: list[str]) -> tuple[list[object], None]:
        [row] = tables.read(IMPRESSIONS, where=pc.field("event_id") == "r1").to_pylist()
        shown, known = micros(row["event_timestamp"]), micros(row["created_timestamp"])
        counted.append(shown < planned.as_of_us < known)
        return [], None

    def sleep(seconds: float) -> None:
        """What happened before the run's time is sent while it waits."""
        if not waits:
            with connect(server.start(home)) as connection:
                event = Shown("r1", "u1", "v4", now_us() - 10_000_000).impression()
                EventClient(connection).send([event])
        waits.append(seconds)

    monkeypatch.setattr("vidtopics.cli.event_service.time.sleep", sleep)
    monkeypatch.setattr(sys.modules["vidtopics.cli.run"], "jobs", jobs)
    assert run(["run", "video_counts", "--home", str(home)]) == 0
    assert counted == [True]
    assert 0 < waits[0] <= SETTINGS.online.lateness.total_seconds()
    # Without its server it says so, and runs on what had landed.
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    assert run(["run", "video_counts", "--home", str(home)]) == 0
    assert len(counted) == 2
    assert "Events didn't land; this run counts what had before." in capsys.readouterr().err


def test_the_service_applies_at_once_and_lands_when_it_is_ended(home: Path) -> None:
    command = [sys.executable, "-m", "vidtopics", "events", "apply", "--home", str(home)]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with connect(server.start(home)) as connection:
            client, reader = EventClient(connection), OnlineClient(connection)
            shown = Shown("s1", "u3", "v5", now_us(), 1, now_us())
            client.send(sent([shown]))
            until = time.monotonic() + 60
            while reader.live_statistics(["v5"]).clicks[0] == 0:
                assert time.monotonic() < until, "the event was never seen"
                assert service.poll() is None
                time.sleep(0.05)
        service.send_signal(signal.SIGTERM)
        _, errors = service.communicate(timeout=60)
    finally:
        service.kill()
    assert service.returncode == 0
    assert errors.splitlines()[0] == "applying events until SIGINT or SIGTERM"
    assert errors.splitlines()[1].startswith("landed ")
    tables = SmallHome(home.parent).tables
    for table in (IMPRESSIONS, CLICKS):
        assert "s1" in tables.read(table, columns=["event_id"])["event_id"].to_pylist()


def test_a_consumer_waits_for_a_server_that_loads_its_data(monkeypatch, capsys):
    loading = redis.BusyLoadingError("loading the dataset in memory")
    answers = iter([loading, loading, "consumer", loading])

    def begin(*_arguments):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(event_service, "RETRY_S", 0.0)
    monkeypatch.setattr(event_service, "begin", begin)
    ended = threading.Event()
    assert event_service.begin_once_loaded(None, None, None, ended) == "consumer"
    assert capsys.readouterr().err.count("waiting for Redis: loading the dataset") == 2
    ended.set()
    assert event_service.begin_once_loaded(None, None, None, ended) is None


def test_what_came_until_the_end_is_landed_by_another_try(monkeypatch):
    monkeypatch.setattr(event_service, "RETRY_S", 0.0)
    ended, tries = threading.Event(), iter([False, False, True, False])
    ended.set()
    event_service.land_repeatedly(ended, 60.0, lambda: next(tries))
    assert next(tries) is False  # none after the one that landed
    calls = []
    event_service.land_repeatedly(ended, 60.0, lambda: calls.append(1))
    assert len(calls) == event_service.LAST_LANDINGS
