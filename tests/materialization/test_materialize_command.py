"""The command: exit codes, dry run, ranges, rounds with metrics, no Feast in the process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from online_home import OnlineHome, dump

from benchmarks.homes import release_tables
from benchmarks.redis_nodes import wait
from vidtopics import server
from vidtopics.cli import common
from vidtopics.cli.common import BUSY
from vidtopics.materialization import lock
from vidtopics.materialization.lock import hold
from vidtopics.materialization.releases import lag_s
from vidtopics.online import OnlineClient
from vidtopics.times import moment

Command = Callable[..., tuple[int, Any]]
DAY_US = 86_400_000_000


@pytest.fixture
def home(tmp_path: Path) -> OnlineHome:
    """a, b, c hold from day 1, 2, 3 on."""
    made = OnlineHome(tmp_path / "home")
    made.statistics(*[(v, i * DAY_US, i * DAY_US, i) for i, v in enumerate("abc", 1)])
    made.clicks(u=["a"])
    made.queues({1: ["a"]})
    made.release()
    return made


@pytest.fixture
def command(
    home: OnlineHome,
    store: redis.Redis,
    valkey: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Runs the verb on the home; its exit code and JSON (or what it said on standard error)."""
    monkeypatch.setenv("REDIS_URL", valkey)

    def run(*arguments: str) -> tuple[int, Any]:
        code = common.run(["materialize", "--home", str(home.root), "--json", *arguments])
        output = capsys.readouterr()
        return code, json.loads(output.out) if output.out else output.err

    return run


def written(reports: list[dict[str, Any]]) -> dict[str, int]:
    return {m["name"]: m["written"] for m in reports}


def exposures(store: redis.Redis) -> list[int]:
    return OnlineClient(store).read("video_statistics", ["a", "b", "c"])["video_exposures"].tolist()


def test_a_dry_run_says_what_a_run_then_does_and_writes_nothing(
    command: Command, home: OnlineHome, store: redis.Redis
) -> None:
    code, planned = command("--dry-run")
    assert (code, store.dbsize()) == (0, 0)
    code, done = command()
    assert (code, written(done)) == (
        0,
        {"video_statistics": 3, "user_recent_clicks": 1, "topic_queues": 1},
    )
    assert written(planned) == written(done)
    home.statistics(("a", 4 * DAY_US, 4 * DAY_US, 9))
    home.release()
    before = dump(store)
    planned = command("--dry-run")[1]
    assert (dump(store), store.exists("vt:{directory}:lock")) == (before, 0)
    assert (
        written(planned)["video_statistics"],
        {m["name"]: m["up_to_date"] for m in planned}["video_statistics"],
    ) == (1, False)
    assert {m["why"] for m in command("--dry-run", "--full")[1]} == {"asked for", ""}
    assert written(command()[1]) == written(planned)


def test_up_to_date_is_no_failure(command: Command) -> None:
    command()
    code, done = command()
    assert (code, {m["up_to_date"] for m in done}) == (0, {True})


@pytest.mark.parametrize(
    ("since", "until", "again"), [(1, 3, "ab"), (2, 3, "b"), (3, 99, "c"), (0, 1, "")]
)
def test_a_range_is_moved_again_whatever_the_watermarks_say(
    command: Command, store: redis.Redis, since: int, until: int, again: str
) -> None:
    """From `since` on, before `until`; the values had been lost, the watermarks not."""
    command()
    whole = dump(store)
    for key in store.scan_iter(match="vt:1:1:{*"):
        store.delete(key)
    code, done = command("--since", moment(since * DAY_US), "--until", moment(until * DAY_US))
    assert (code, written(done)["video_statistics"]) == (0, len(again))
    assert exposures(store) == [n if v in again else 0 for n, v in enumerate("abc", 1)]
    marks = {k: v for k, v in whole.items() if b":w" in k}
    assert marks == {k: v for k, v in dump(store).items() if b":w" in k}


def test_a_range_of_old_rows_overwrites_nothing_newer(
    command: Command, home: OnlineHome, store: redis.Redis
) -> None:
    home.statistics(("a", 5 * DAY_US, 5 * DAY_US, 50))
    home.release()
    command()
    before = dump(store)
    _, (report, clicks) = command("--since", moment(0), "--until", moment(4 * DAY_US))
    assert (report["written"], report["older"], clicks["name"]) == (2, 1, "user_recent_clicks")
    assert dump(store) == before


def test_a_range_of_a_view_that_has_to_be_loaded_anew_is_refused(
    command: Command, home: OnlineHome
) -> None:
    code, message = command("--since", "2026-01-01", "--until", "2026-02-01")
    assert code == 2
    assert "expected a view that is loaded from this table, found none yet" in message


@pytest.mark.parametrize(
    "wrong",
    [
        ["--since", "2026-01-01"],
        ["--until", "2026-01-01"],
        ["--since", "yesterday", "--until", "2026-01-01"],
        ["--since", "2026-01-01", "--until", "2026-01-02", "--full"],
        ["--every", "5"],
        ["--every", "0s"],
        ["--every", "5m", "--full"],
        ["--every", "5m", "--json"],
        ["--metrics-port", "9000"],
        ["--log-format", "json"],
        ["--max-failures", "3"],
    ],
)
def test_wrong_use_ends_with_2(command: Command, wrong: list[str]) -> None:
    assert command(*wrong)[0] == 2


def test_a_second_run_ends_with_3_and_names_the_first(
    command: Command, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0.1)
    with hold(store, "vt"):
        code, message = command()
    assert (code, f"process {os.getpid()} on" in message) == (BUSY, True)
    assert BUSY == 3
    assert command()[0] == 0


def test_a_redis_out_of_reach_or_a_missing_table_end_with_2(
    command: Command, home: OnlineHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(home.root / "tables" / "topic_queues")
    code, done = command()
    left_behind = {moved["name"] for moved in done if moved["error"]}
    assert (code, left_behind, len(done) > 1) == (2, {"topic_queues"}, True)
    monkeypatch.setenv("REDIS_URL", f"redis://:secret@127.0.0.1:{free_port()}")
    code, message = command()
    assert (code, "secret" in message, "expected a server that answers" in message) == (
        2,
        False,
        True,
    )


def test_a_full_redis_is_not_one_that_is_gone(command: Command, store: redis.Redis) -> None:
    store.config_set("maxmemory", 1)
    try:
        code, message = command()
    finally:
        store.config_set("maxmemory", 0)
    assert (code, "expected room, found" in message, "maxmemory" in message) == (2, True, True)


def test_a_preview_says_what_keeps_the_prefix(
    home: OnlineHome, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--pin", "1")[0] == 0
    assert common.run(["materialize", "--home", str(home.root), "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, "pinned at release 1 since" in printed.err) == ("", True)


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def ten_days_after_1970(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(time=lambda: 10 * 86_400.0)
    monkeypatch.setattr("vidtopics.materialization.releases.time", clock)


def test_a_pin_keeps_the_prefix_until_it_is_taken_out(
    command: Command, home: OnlineHome, store: redis.Redis
) -> None:
    command()
    home.statistics(("a", 4 * DAY_US, 4 * DAY_US, 9))
    home.release()
    assert command("--pin", "1")[0] == 0
    code, done = command()
    assert (code, done, exposures(store)) == (0, [], [1, 2, 3])
    code, message = command("--release", "2")
    assert (code, "found pinned at release 1 since" in message) == (2, True)
    assert command("--unpin")[0] == 0
    assert exposures(store) == [9, 2, 3]
    assert command("--release", "1")[0] == 0
    assert exposures(store) == [1, 2, 3]


def test_another_home_is_refused_and_takes_over(
    command: Command, home: OnlineHome, store: redis.Redis, tmp_path: Path
) -> None:
    command()
    other = OnlineHome(tmp_path / "other")
    other.statistics(("a", 1, 1, 77))
    other.release()
    again = ["materialize", "--home", str(other.root), "--json"]
    assert common.run(again) == 2
    assert exposures(store) == [1, 2, 3]
    assert common.run([*again, "--take-over"]) == 0
    assert exposures(store)[0] == 77


@pytest.mark.parametrize(
    "arguments",
    [
        ("--pin", "1", "--unpin"),
        ("--pin", "1", "--release", "1"),
        ("--every", "1s", "--pin", "1"),
        ("--dry-run", "--unpin"),
        ("--release", "0"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_use(
    command: Command, store: redis.Redis, arguments: tuple[str, ...]
) -> None:
    assert command(*arguments)[0] == 2
    assert store.dbsize() == 0


def released(root: Path) -> OnlineHome:
    """Releases 1, 2, 3, which became known 1, 2 and 3 days after 1970."""
    home = OnlineHome(root)
    for n in (1, 2, 3):
        home.statistics(("a", n, n, n))
        assert release_tables(home.tables, as_of_us=n, created_us=n * DAY_US, settings="s") == n
    return home


@pytest.mark.usefixtures("ten_days_after_1970")
def test_lag_is_the_age_of_the_oldest_release_that_is_not_loaded(tmp_path: Path) -> None:
    home = released(tmp_path)
    assert [lag_s(home.tables, loaded) for loaded in (None, 1, 2)] == [
        (10 - days) * 86_400 for days in (1, 2, 3)
    ]
    assert lag_s(home.tables, 3) == 0


@pytest.mark.usefixtures("ten_days_after_1970")
def test_where_releases_are_counted_anew_lag_is_the_age_of_the_oldest(tmp_path: Path) -> None:
    """Redis has release 4 of a home that was lost: of this one's three nothing is loaded."""
    home = released(tmp_path)
    assert lag_s(home.tables, 4) == 9 * 86_400


CHILD = """
import sys
from vidtopics.cli.common import run
options = ["--metrics-port", sys.argv[2], "--log-format", "json", "--log-level", "debug"]
code = run(["materialize", "--home", sys.argv[1], "--every", "1s", *options])
assert "feast" not in sys.modules
assert "torch" not in sys.modules and "pyspark" not in sys.modules
sys.exit(code)
"""


@pytest.fixture
def rounds(home: OnlineHome) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """The command in rounds, its metrics port, and the home of its Redis, which is down."""
    place = home.root.parent / "server"
    url = server.start(place)
    server.stop(place)
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home.root), str(port)],
        env=os.environ | {"REDIS_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child, port, place
    finally:
        child.kill()
        child.wait()
        server.stop(place)


def page(port: int, name: str) -> tuple[int, str]:
    """Status and text of a page; status 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def figure(port: int, name: str) -> float | None:
    lines = page(port, "metrics")[1].splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(name)), None)


def test_rounds_outlive_redis_and_end_by_a_signal(
    rounds: tuple[subprocess.Popen[str], int, Path], home: OnlineHome
) -> None:
    child, port, place = rounds
    began = time.time()
    work = '{work="materialize"}'
    failures = f"vidtopics_round_consecutive_failures{work}"
    wait(lambda: (figure(port, failures) or 0) >= 1, "a round that failed")
    assert figure(port, 'vidtopics_round_errors_total{kind="StoreError"') >= 1
    assert str(figure(port, "vidtopics_materialize_lag_seconds")) == "nan"  # Redis can't be asked
    assert page(port, "live")[0] == 200
    assert page(port, "ready")[0] == 503
    url = server.start(place)
    wait(lambda: figure(port, "vidtopics_release_live") == 1, "the first release")
    assert figure(port, "vidtopics_release_in_force") == 1
    assert figure(port, 'vidtopics_materialize_rows_total{view="video_statistics"}') == 3
    assert figure(port, "vidtopics_materialize_lag_seconds") == 0
    assert figure(port, failures) == 0
    assert page(port, "ready") == (200, '{"ready": true, "reasons": []}\n')
    succeeded = figure(port, f"vidtopics_round_last_success_timestamp_seconds{work}")
    assert succeeded is not None
    assert began <= succeeded <= time.time()
    home.statistics(("a", 9 * DAY_US, 9 * DAY_US, 9))
    home.release()
    wait(lambda: figure(port, "vidtopics_release_live") == 2, "the second release")
    with redis.Redis.from_url(url) as store:
        assert exposures(store) == [9, 2, 3]
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (0, ""), err
    events = [json.loads(line) for line in err.splitlines()]
    assert (events[0]["event"], events[-1]) == ("started", events[-1] | {"cause": "a signal"})
    failed = next(e for e in events if e.get("outcome") == "failed")
    assert failed["cause"].startswith("Redis at redis://127.0.0.1")
    assert failed["consecutive_failures"] == 1
    assert "Traceback" in events[events.index(failed) + 1]["traceback"]
    moved = [e for e in events if e["event"] == "moved" and e["name"] == "video_statistics"]
    assert [(e["release"], e["written"]) for e in moved] == [(1, 3), (2, 1)]
    assert all(e["time"].endswith("Z") for e in events)
