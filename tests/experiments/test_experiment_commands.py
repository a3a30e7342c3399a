"""The commands as an analyst runs them: exit statuses, screen, JSON, page."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from experiment_fixtures import write_experiment

from vidtopics.cli import common


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("experiment")
    write_experiment(path, users=1200, effect=1.0, more="strata: []\n")
    return path


def test_the_screen_has_checks_table_3_and_a_verdict(folder, capsys):
    assert common.run(["evaluate", "ab", str(folder)]) == 0
    screen = capsys.readouterr().out
    assert re.search(r"UVD +assigned +topics .* up", screen)
    assert re.search(r"ART +active +topics .* open", screen)
    assert "sample ratio" in screen
    assert screen.strip().endswith("Verdict: decided: the declared end is reached")


def test_json_and_page_have_the_same_figures(folder, capsys, tmp_path):
    page = tmp_path / "page.html"
    assert common.run(["evaluate", "ab", str(folder), "--json", "--page", str(page)]) == 0
    report = json.loads(capsys.readouterr().out)
    uvd = report["comparisons"][0]
    html = page.read_text()
    assert f"{uvd['relative']:+.2%} [{uvd['low']:+.2%}, {uvd['high']:+.2%}]" in html
    assert html.count("<figure>") == 1 + len(report["comparisons"])
    assert html.count('text x="0"') == 5 + 5 * 7  # a row a comparison, and a row a day


def test_the_page_shows_true_effects_where_they_are_known(folder):
    from vidtopics.cli.ab_page import render
    from vidtopics.experiments.analysis import analyse

    report = analyse(folder)
    assert 'class="truth"' not in render(report)
    for row in report["comparisons"]:
        row["truth"] = {"relative": 0.1234}
    html = render(report)
    assert html.count('class="truth"') == html.count("+12.34%") == len(report["comparisons"])


def test_the_page_shows_names_as_text(folder, capsys, tmp_path):
    from vidtopics.cli.ab_page import render
    from vidtopics.experiments.analysis import analyse

    report = analyse(folder)
    report["name"] = "<script>alert(1)</script>"
    report["comparisons"][0]["arm"] = "<b>"
    html = render(report)
    assert "<script" not in html
    assert "<b>" not in html


def test_a_stopped_verdict_has_a_status_of_its_own(tmp_path, capsys):
    write_experiment(tmp_path, users=2000, effect=1.0)
    path = tmp_path / "assignment.csv"
    table = pa.csv.read_csv(path)
    keep = np.array(table["arm"].to_pylist()) == "production"
    keep[::4] = True
    pa.csv.write_csv(table.filter(pa.array(keep)), path)
    page = tmp_path / "page.html"
    assert common.run(["evaluate", "ab", str(tmp_path), "--page", str(page)]) == 6
    screen = capsys.readouterr().out
    assert re.search(r"sample ratio +stopped +topics has \d+ users too few", screen)
    assert "UVD" not in screen.replace("largest: UVD", "")
    assert "STOPPED" in page.read_text()


def test_a_fixed_horizon_that_is_not_reached_has_another(tmp_path, capsys):
    write_experiment(tmp_path, users=400)
    text = (tmp_path / "experiment.yaml").read_text().replace("2026-12-08", "2026-12-15")
    (tmp_path / "experiment.yaml").write_text(text)
    assert common.run(["evaluate", "ab", str(tmp_path)]) == 1
    assert "too early: a fixed horizon has one look" in capsys.readouterr().out


def test_a_wrong_folder_is_one_message(tmp_path, capsys):
    assert common.run(["evaluate", "ab", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert "nowhere/experiment.yaml" in captured.err
    assert "Traceback" not in captured.err


def test_power_from_a_log_says_effects_users_and_groups(folder, capsys):
    command = ["power", str(folder), "--effect", "0.1", "--groups", "8", "--json"]
    assert common.run(command) == 0
    plan = json.loads(capsys.readouterr().out)
    uvd = plan["metrics"][0]["arms"][0]
    assert plan["comparisons"] == 5
    assert uvd["detectable_effect"] > 0.1  # 1,200 users are too few
    assert uvd["required_users"] > plan["users"]
    distances = [pair["distance"] for pair in plan["groups"]]
    assert distances == sorted(distances)
    assert common.run(["power", str(folder), "--groups", "8"]) == 0
    assert "most alike groups" in capsys.readouterr().out


def test_power_from_figures_by_hand(capsys):
    """Mean 10, deviation 20, independent days: V = 4 / 4; se^2 = 1 * 4 / 40,000."""
    command = [
        "power",
        "--mean",
        "10",
        "--sd",
        "20",
        "--correlation",
        "0",
        "--days",
        "4",
        "--users",
        "40000",
        "--json",
    ]
    assert common.run(command) == 0
    plan = json.loads(capsys.readouterr().out)
    effect = plan["metrics"][0]["arms"][0]["detectable_effect"]
    assert effect == pytest.approx(np.expm1((1.959964 + 0.841621) * 0.01), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["power"], "expected a FOLDER, or --mean and --sd above 0"),
        (["power", "--mean", "1", "--sd", "1"], "expected --users or --effect, found neither"),
        (
            ["power", "--mean", "1", "--sd", "1", "--users", "9", "--shares", "1,1"],
            "--shares: expected two or more shares",
        ),
        (["evaluate", "off-policy", "nowhere.csv"], "nowhere.csv: expected a file that ends in"),
    ],
)
def test_wrong_use_is_one_message(arguments, message, capsys):
    assert common.run(arguments) == 2
    assert message in capsys.readouterr().err


def test_off_policy_prints_estimates_beside_the_logged_policy(tmp_path, capsys):
    rows = ["reward,propensity,target_probability"] + ["1,0.5,0.8", "0,0.5,0.2"] * 100
    (tmp_path / "log.csv").write_text("\n".join(rows))
    assert common.run(["evaluate", "off-policy", str(tmp_path / "log.csv")]) == 0
    screen = capsys.readouterr().out
    assert "200 rows, effective sample size 147" in screen
    assert re.search(r"logged policy +0.5 ", screen)
    assert re.search(r"IPS +0.8 ", screen)
