"""`daemon`, `materialize --every`, `run --every`: exit statuses, the child of a run, its causes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vidtopics.cli import common, rounds
from vidtopics.errors import StoreError
from vidtopics.materialization import IncompleteError
from vidtopics.materialization.lock import LockError
from vidtopics.materialization.reports import Moved
from vidtopics.service.rounds import BlockedError, PartialError, ProcessError, StandbyError
from vidtopics.settings import OnlineSettings, Settings

PYTHON = [sys.executable, "-c"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "tables").mkdir()
    return tmp_path


def test_a_release_is_materialized_at_once_and_a_signal_ends_both(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At an hour's pace: without the run's wake the second round would not come."""
    loads: list[int] = []

    def move(*_: object) -> list[Moved]:
        loads.append(len(loads))
        if len(loads) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return [Moved("topics", len(loads), written=1)]

    def run(command: list[str]) -> dict[str, Any]:
        while not loads:
            pass
        return {"release": 2, "published": {"topics": 7}}

    monkeypatch.setattr("vidtopics.cli.materialize.move", move)
    monkeypatch.setattr(rounds, "_run", run)
    options = ["--run-every", "1h", "--materialize-every", "1h", "--log-format", "json"]
    assert common.run(["daemon", "--home", str(home), *options]) == 0
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [e["release"] for e in events if e.get("work") == "materialize"] == [1, 2]
    (ran,) = [e for e in events if e.get("work") == "run"]
    assert ran["published"] == {"topics": 7}


@pytest.mark.parametrize(
    ("verb", "options"),
    [("daemon", ["--materialize-every", "1s"]), ("materialize", ["--every", "1s"])],
)
def test_too_many_failures_end_with_5(
    home: Path,
    verb: str,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def move(*_: object) -> list[Moved]:
        raise StoreError("Redis: gone")

    monkeypatch.setattr("vidtopics.cli.materialize.move", move)
    assert common.run([verb, "--home", str(home), *options, "--max-failures", "2"]) == 5
    err = capsys.readouterr().err
    assert err.count('cause="Redis: gone"') == 2
    assert 'ended cause="materialize failed too often"' in err


def test_rounds_of_runs_name_the_job_that_there_is_not(home: Path) -> None:
    assert common.run(["run", "no_such_job", "--every", "1h", "--home", str(home)]) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        ["daemon"],
        ["daemon", "--run-every", "5"],
        ["daemon", "--run-every", "1h", "--log-format", "xml"],
        ["run", "--every", "1h", "--as-of", "2026-01-01"],
        ["run", "--every", "1h", "--json"],
        ["run", "--metrics-port", "9000"],
    ],
)
def test_wrong_use_ends_with_2(home: Path, wrong: list[str]) -> None:
    assert common.run([*wrong, "--home", str(home)]) == 2


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["run"], "--every"),
        (["materialize", "--full"], "--every"),
        (["infer", "--once"], "--follow"),
    ],
)
def test_options_of_a_service_are_refused_on_what_runs_once(
    home: Path, words: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All verbs have them from one place, and none ignores them."""
    options = {"--metrics-port": "9000", "--metrics-host": "::1", "--max-failures": "3"}
    options |= {"--log-format": "json", "--log-level": "debug"}
    for name, value in options.items():
        assert common.run([*words, name, value, "--home", str(home)]) == 2
        assert f"{name} goes with {flag}" in capsys.readouterr().err


def test_a_port_that_is_taken_ends_with_2_before_a_round(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vidtopics.cli.materialize.move", lambda *_: pytest.fail("a round"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ["--materialize-every", "1h", "--metrics-port", port]
        assert common.run(["daemon", "--home", str(home), *options]) == 2
    assert "in use" in capsys.readouterr().err


def test_a_password_that_is_lost_ends_with_2_before_a_round(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://cache")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", "/no/such/file")
    monkeypatch.setattr("vidtopics.cli.materialize.move", lambda *_: pytest.fail("a round"))
    assert common.run(["daemon", "--home", str(home), "--materialize-every", "1h"]) == 2
    assert "REDIS_PASSWORD_FILE=/no/such/file: expected" in capsys.readouterr().err


def test_a_lock_that_another_holds_is_a_standby(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(*_: object) -> list[Moved]:
        raise LockError("process 7 has it")

    monkeypatch.setattr("vidtopics.cli.materialize.move", move)
    with pytest.raises(StandbyError, match="process 7"):
        rounds.materialize_work(home, False, Settings(), 1).once()


def test_a_damaged_table_fails_the_round_and_what_the_others_did_counts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = [Moved("topics", 3, written=2), Moved("video_statistics", 3, error="video_statistics")]

    def move(*_: object) -> list[Moved]:
        raise IncompleteError(moved)

    monkeypatch.setattr("vidtopics.cli.materialize.move", move)
    with pytest.raises(PartialError, match="video_statistics") as error:
        rounds.materialize_work(home, True, Settings(), 1).once()
    assert error.value.facts == {"moved": moved, "release": 3}


REPORT = {
    "release": 4,
    "steps": [
        {"publication": {"table": "topics", "version": 3, "rows": 9, "skipped": False}},
        {"publication": {"table": "tags", "version": 1, "rows": 0, "skipped": True}},
    ],
}


def test_a_run_is_a_process_whose_report_is_read() -> None:
    facts = rounds._run([*PYTHON, f"import json; print(json.dumps({REPORT}))"])
    assert facts == {"release": 4, "published": {"topics": 9}}


ENDS = {
    "a fault": ("import sys; sys.exit('Error disk: full')", ProcessError, "^disk: full$"),
    "the run lock": (
        "import sys; print('Error lock: run 7', file=sys.stderr); sys.exit(3)",
        StandbyError,
        "^lock: run 7$",
    ),
    "a gate": (
        "import sys; print('Error gate: ended', file=sys.stderr); sys.exit(4)",
        BlockedError,
        "^gate: ended$",
    ),
    "a gate that the report names": (
        'import sys; print(\'{"reasons": ["ended_share .4", "rows 0"]}\'); sys.exit(4)',
        BlockedError,
        "^ended_share .4; rows 0$",
    ),
    "a bug": ("1/0", ProcessError, "ZeroDivisionError: division by zero"),
    "the system": (
        "import os; os.kill(os.getpid(), 9)",
        ProcessError,
        "ended by SIGKILL, as the system does where memory is full",
    ),
    "silence": ("import sys; sys.exit(2)", ProcessError, "status 2 without a message"),
}


@pytest.mark.parametrize(("code", "kind", "cause"), ENDS.values(), ids=ENDS)
def test_the_end_of_a_run_says_why(code: str, kind: type[Exception], cause: str) -> None:
    with pytest.raises(kind, match=cause):
        rounds._run([*PYTHON, code])


def test_a_run_in_rounds_is_this_command_with_its_options(tmp_path: Path) -> None:
    """`run --json` of the module, as where no `vidtopics` is on the path."""
    work = rounds.run_work(tmp_path, tmp_path / "mine.yaml", ["topics"], 60)
    with pytest.raises(ProcessError, match=f"--home {tmp_path}: expected a home"):
        work.once()


def reasons(status: Any, exists: bool = True, error: Exception | None = None) -> list[str]:
    class Reach:
        def __enter__(self) -> Any:
            if error:
                raise error
            return SimpleNamespace(exists=lambda key: exists and key == "vt:{directory}:layout")

        def __exit__(self, *_: object) -> None:
            pass

    return list(rounds._not_ready(Reach, OnlineSettings(), lambda: status))


def test_what_readiness_asks() -> None:
    """Of the limit: 15 minutes."""

    def lag(value: float) -> Any:
        return SimpleNamespace(lag_now_s=lambda: value)

    assert reasons(lag(900)) == []
    assert reasons(lag(901)) == ["a lag of 901 s, above online.max_lag of 900 s"]
    assert reasons(lag(float("nan"))) == ["the lag is not known"]
    assert reasons(lag(0), exists=False) == ["nothing is loaded under the prefix 'vt'"]
    assert reasons(lag(0), error=StoreError("no answer")) == ["no answer"]
