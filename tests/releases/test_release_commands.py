"""`vidtopics releases`, `release`, and how `run` ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_releasing import Home, lose_topics

from vidtopics.cli import run as run_verb
from vidtopics.cli.common import run as command
from vidtopics.releases.loads import record
from vidtopics.releases.lock import hold
from vidtopics.tables import Tables


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Release 1 in force, release 2 rejected."""
    made = Home(Tables(tmp_path))
    made.deliver("x")
    made.run()
    lose_topics(made)
    record(made.tables, 1, "localhost:6379/0/vt", 5, 1_767_229_300_000_000)
    return made


def ask(home: Home, *arguments: str) -> int:
    verb, *rest = arguments
    return command([verb, "--home", str(home.tables.home), *rest])


def test_releases_lists_states_what_blocked_and_where_it_is_live(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, "releases") == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    first = next(line for line in lines if line.startswith(" 1 "))
    assert "in force" in first
    assert "2026-01-01 01:00" in first
    assert "localhost:6379/0/vt" in first
    second = next(line for line in lines if line.startswith(" 2 "))
    assert "rejected" in second
    assert "topics.ended_share block: 0.6667 is above 0.3" in " ".join(out.split())
    assert lines[-1].startswith("Release 2 waits, and consumers have had nothing newer than")
    assert lines[-1].endswith("vidtopics release --allow topics.ended_share --because TEXT")
    assert ask(home, "releases", "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["in_force"] == 1
    since = next(row["at"] for row in plain["releases"] if row["release_id"] == 2)
    assert (plain["waiting"]["release"], plain["waiting"]["since"]) == (2, since)
    assert plain["live"]["localhost:6379/0/vt"]["release_id"] == 1
    assert [(row["release_id"], row["state"]) for row in plain["releases"]] == home.states
    assert plain["releases"][1]["figures"]["topics.ended_share"] == pytest.approx(2 / 3)


def test_release_needs_the_gates_by_name_and_a_reason(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, "release", "--allow", "topics.gini", "--because", "meant") == 2
    assert "expected --allow topics.ended_share, which block it" in capsys.readouterr().err
    assert ask(home, "release", "--allow", "topics.ended_share", "--because", " ") == 2
    with hold(home.tables.home, "vidtopics run"):
        assert ask(home, "release", "--allow", "topics.ended_share", "--because", "meant") == 3
    assert "`vidtopics run`, process" in capsys.readouterr().err
    assert home.in_force == 1
    assert ask(home, "release", "--allow", "topics.ended_share", "--because", "meant") == 0
    assert home.in_force == 2
    assert "Release 2 is in force" in capsys.readouterr().out
    assert ask(home, "releases", "--json") == 0
    assert json.loads(capsys.readouterr().out)["waiting"] is None


def test_train_waits_for_no_other_run(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with hold(home.tables.home, "vidtopics run"):
        assert command(["train", "ranking", "--home", str(home.tables.home)]) == 3
    assert "`vidtopics run`, process" in capsys.readouterr().err


def test_run_ends_with_4_where_a_gate_blocks_and_says_which(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decision = lose_topics(home)
    monkeypatch.setattr(run_verb, "jobs", lambda planned, names: ([], decision))
    assert ask(home, "run") == 4
    out = capsys.readouterr().out
    assert "topics.ended_share" in out
    assert "--allow topics.ended_share" in out
    assert ask(home, "run", "--json") == 4
    plain = json.loads(capsys.readouterr().out)
    reason = "topics.ended_share block: 0.6667 is above 0.3"
    assert (plain["state"], plain["reasons"]) == ("rejected", [reason])
