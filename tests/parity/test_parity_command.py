"""The verb, and a service that reads while releases move."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import pytest
from parity_home import HOUR_US, ParityHome, ago

from benchmarks.homes import release_tables
from consumers.parity import Verdict
from vidtopics.cli import common
from vidtopics.contracts import VIDEO_STATISTICS
from vidtopics.materialization import materialize
from vidtopics.settings import OnlineSettings


@pytest.fixture
def served(home: ParityHome) -> ParityHome:
    """Two videos served in four rows, one of them twice stale."""
    home.statistics(("a", ago(3), ago(3), 10), ("b", ago(3), ago(3), 20))
    home.move()
    home.read("a", "b", request="r1")
    home.read("a", "b", request="r2")
    home.log.close()
    home.statistics(("b", ago(2), ago(2), 21))
    return home


def run(home: ParityHome, *arguments: str) -> int:
    return common.run(["parity", "--home", str(home.root), *arguments])


def test_exit_codes_follow_both_checks(
    served: ParityHome, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(served, "--max-stale", "0.5") == 0  # 2 of 4 rows
    assert run(served, "--max-stale", "0.49") == 1
    output = capsys.readouterr().out
    assert "Check 1, served is the table's row: fine (4 rows checked)" in output
    assert (
        "Check 2, served is what a join gives: TOO STALE (at most 50.00% of a view, 49.00% allowed)"
        in output
    )
    assert "stale: video_statistics of b, request r1 at 20" in output
    served.store.delete(served.key("a"))
    served.settle()  # the log began anew
    served.read("a", request="r3")
    served.log.close()
    assert run(served, "--max-stale", "1") == 1
    output = capsys.readouterr().out
    assert "Check 1, served is the table's row: 1 MISMATCHES (5 rows checked)" in output
    assert "missing: video_statistics of a, request r3 at 20" in output


def test_json_has_counts_rates_and_examples(
    served: ParityHome, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(served, "--json", "--examples", "1", "--log", str(served.folder)) == 1
    result = json.loads(capsys.readouterr().out)
    (view,) = result["views"]
    assert {
        k: result[k]
        for k in ("fine", "lines", "damaged", "dropped", "checked", "mismatches", "staleness")
    } == {
        "fine": False,
        "lines": 2,
        "damaged": 0,
        "dropped": 0,
        "checked": 4,
        "mismatches": 0,
        "staleness": 0.5,
    }
    assert view["verdicts"] == {"fine": 4}
    assert view["features"]["video_exposures"] == {
        "served": 4,
        "wrong": 0,
        "stale": 2,
        "wrong_rate": 0,
        "stale_rate": 0.5,
    }
    assert view["behind_max_s"] == pytest.approx(7200, abs=60)
    (example,) = view["examples"]
    assert (example["served"]["video_exposures"], example["expected"]["video_exposures"]) == (
        20,
        21,
    )


def test_without_a_log_it_says_how_to_make_one(
    home: ParityHome, capsys: pytest.CaptureFixture[str]
) -> None:
    (home.root / "tables").mkdir(parents=True, exist_ok=True)
    assert run(home) == 2
    assert "OnlineClient.from_url(url, log=ServingLog(folder, " in capsys.readouterr().err
    assert run(home, "--max-stale", "2") == 2


def test_a_log_of_which_nothing_can_be_checked_is_not_fine(
    home: ParityHome, capsys: pytest.CaptureFixture[str]
) -> None:
    home.statistics(("a", ago(3), ago(3), 10))
    home.move()
    home.say_live("")
    home.read("a")
    home.log.close()
    assert run(home) == 1
    assert run(home, "--max-unchecked", "1") == 1
    assert "NOTHING CHECKED (0 rows checked)" in capsys.readouterr().out


@pytest.fixture
def partly(home: ParityHome) -> ParityHome:
    """One row checked, then three without a floor."""
    home.statistics(("a", ago(3), ago(3), 10))
    home.move()
    home.read("a")
    home.say_live("")
    for _ in range(3):
        home.read("a")
    home.log.close()
    return home


def test_a_log_that_is_mostly_unchecked_is_not_fine(
    partly: ParityHome, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(partly, "--max-unchecked", "0.75") == 0
    assert run(partly, "--max-unchecked", "0.74") == 1
    output = capsys.readouterr().out
    assert (
        "rows that could not be checked: fine (at most 75.00% of a view, 75.00% allowed)" in output
    )
    assert (
        "rows that could not be checked: TOO MANY (at most 75.00% of a view, 74.00% allowed)"
        in output
    )
    assert "Check 1, served is the table's row: fine (1 rows checked)" in output


@pytest.mark.parametrize(("checked", "code"), [(19, 0), (18, 1)])
def test_one_row_in_twenty_may_be_unchecked(home: ParityHome, checked: int, code: int) -> None:
    home.statistics(("a", ago(3), ago(3), 10))
    home.move()
    home.read(*["a"] * checked)
    home.say_live("")
    home.read("a")
    home.log.close()
    assert run(home) == code


def test_a_view_that_is_unchecked_does_not_hide_behind_another(
    partly: ParityHome, capsys: pytest.CaptureFixture[str]
) -> None:
    partly.topics(("a", ago(1), ago(1), 7))
    partly.move()
    partly.read(*["a"] * 200, view="video_topics")
    partly.log.close()
    assert run(partly, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert (
        result["fine"],
        result["max_unchecked"],
        result["unchecked_rate"],
        result["checked"],
    ) == (
        False,
        0.05,
        0.75,
        201,
    )
    assert [v["unchecked_rate"] for v in result["views"]] == [0.75, 0]


@pytest.fixture
def skewed(home: ParityHome, monkeypatch: pytest.MonkeyPatch) -> ParityHome:
    """The publisher's clock runs ahead: `a` is known from in an hour on; one of 1,000 rows."""
    ahead = SimpleNamespace(
        time_ns=lambda: time.time_ns() + 2 * HOUR_US * 1000, monotonic=time.monotonic
    )
    monkeypatch.setattr("vidtopics.materialization.releases.time", ahead)
    home.statistics(("a", ago(1), ago(-1), 5), ("b", ago(1), ago(1), 6))
    home.move()
    home.read("a", *["b"] * 999)
    return home


def test_a_skewed_clock_is_not_fine_past_one_row_in_a_thousand(
    skewed: ParityHome, capsys: pytest.CaptureFixture[str]
) -> None:
    skewed.log.close()
    assert run(skewed) == 0
    assert run(skewed, "--max-skew", "0") == 1
    assert (
        "by one clock alone: TOO MANY (at most 0.10% of a view, 0.00% allowed)"
        in capsys.readouterr().out
    )
    skewed.read("a")  # 2 of 1,001
    skewed.log.close()
    assert run(skewed, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["fine"], result["max_skew"], result["mismatches"]) == (False, 0.001, 0)
    assert result["skew"] == result["views"][0]["skew"] == pytest.approx(2 / 1001)
    assert run(skewed, "--max-skew", "0.002") == 0


def test_a_log_from_another_home_is_told(
    served: ParityHome, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = str(tmp_path_factory.mktemp("other"))
    assert common.run(["parity", "--home", other, "--log", str(served.folder)]) == 2


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_data_file_of_the_latest_version_that_is_gone_or_cut_is_named(
    served: ParityHome, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = next(served.tables.path(VIDEO_STATISTICS).glob("*.parquet"))
    lost.unlink() if damage == "gone" else lost.write_bytes(lost.read_bytes()[:100])
    assert run(served) == 2
    output = " ".join(capsys.readouterr().err.split())
    assert "video_statistics: expected all its data files, whole" in output
    assert lost.name in output


def test_reads_while_releases_move_are_right(home: ParityHome) -> None:
    """Every answer lies between the watermarks before and after it, during a load too."""
    ids = [f"v{i}" for i in range(40)]
    home.statistics(*((i, ago(9), ago(9), 1) for i in ids))
    home.move()
    stop = threading.Event()

    def move() -> None:
        for n in range(2, 14):
            home.statistics(
                *(
                    (i, ago(9 - n / 10), ago(9 - n / 10), None if n % 5 == 0 else n)
                    for i in ids[n % 3 :: 2]
                )
            )
            release_tables(home.tables, as_of_us=n, created_us=n, settings="s")
            materialize(home.tables, home.store, OnlineSettings(buckets=4))
        stop.set()

    mover = threading.Thread(target=move)
    mover.start()
    number = 0
    while not stop.is_set():
        home.read(*ids, "unknown", request=f"r{number}")
        number += 1
    mover.join()
    report = home.replay(chunk_rows=5_000)
    view_report = report.views["video_statistics"]
    assert number > 50
    assert view_report.rows == number * 41
    assert {v for v in view_report.verdicts if v not in (Verdict.FINE, Verdict.AHEAD)} == set()
    assert view_report.stale > 0
