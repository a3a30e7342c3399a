"""`vidtopics simulate ab` in a world without a home."""

import json

import pytest

from vidtopics.cli.common import run

CONFIG = """
seed: 7
simulation: {users: 400, videos: 150, days: 2}
"""
FIRST = ("UVD", "assigned")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "world.yaml"
    path.write_text(CONFIG)
    return path


def simulate(tmp_path, config, *more):
    arms = ["--arms", "random,popular,oracle", "--days", "1+2", "--groups", "4"]
    options = ["--config", str(config), *arms, *more]
    return run(["simulate", "ab", str(tmp_path / "out"), *options])


def test_the_screen_has_the_true_effects_beside_the_estimates(tmp_path, config, capsys):
    page = tmp_path / "page.html"
    assert simulate(tmp_path, config, "--page", str(page)) == 0
    screen, log = capsys.readouterr()
    assert "simulated world, seed 7: 2026-01-04" in screen
    truth = json.loads((tmp_path / "out" / "truth.json").read_text())["effects"]
    for effect in truth:
        lines = [t for t in screen.splitlines() if t.split()[:1] == [effect["metric"]]]
        assert any(f"  {effect['relative']:+.2%}  " in line for line in lines)
    assert f"of {len(truth)} lie within their interval" in " ".join(screen.split())
    uvd = {e["arm"]: e["relative"] for e in truth if (e["metric"], e["population"]) == FIRST}
    share = f"oracle ({uvd['oracle']:+.2%}): popular {uvd['popular'] / uvd['oracle']:.0%}."
    assert f"Of the true effect on UVD per assigned user, {share}" in " ".join(screen.split())
    assert "day 11 of 11 (truth-oracle)" in log  # 2 of the log, 1 before, 2, 3 x 2
    assert "min left" in log
    assert page.read_text().startswith("<!doctype html>")


def test_a_folder_is_not_written_over_and_a_whole_one_is_analysed_again(tmp_path, config, capsys):
    assert simulate(tmp_path, config) == 0
    first = capsys.readouterr().out
    assert simulate(tmp_path, config) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert simulate(tmp_path, config, "--resume") == 0
    assert capsys.readouterr().out == first
    assert run(["evaluate", "ab", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == first
    assert simulate(tmp_path, config, "--resume", "--users", "300") == 2
    assert "--resume, simulation: expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--days", "7"], "--days: expected days of the pre-period and of the experiment"),
        (["--days", "0+7"], "--days: expected days"),
        (["--arms", "random,topics"], "--arms: expected without --home, some of random, popular"),
        (["--arms", "random"], "arms: expected two or more different ones"),
        (["--users", "20"], "simulation.users: expected at least 10 users in each"),
        (["--home", "nothing"], "--home nothing: expected a home"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_message(tmp_path, config, capsys, options, message):
    assert simulate(tmp_path, config, *options) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert "Traceback" not in error
    assert not list((tmp_path / "out").glob("*.parquet"))
