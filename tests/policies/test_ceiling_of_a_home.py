"""What planted topics would give, in the report on a home of a simulated world."""

import json

import numpy as np
import pytest
from planted_home import SETTINGS, make_home

from benchmarks import planted
from vidtopics.cli.common import run
from vidtopics.contracts import IMPRESSIONS
from vidtopics.evaluate.ceiling import gains, report
from vidtopics.simulation import write_world


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("ceiling") / "home"
    make_home(path)
    simulation = SETTINGS.simulation.model_copy(update={"covers": False})
    write_world(simulation, path / "simulated" / "0", seed=SETTINGS.seed)
    return path


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(gains, "DRAWS", 20)
    # Table II isn't what is looked at here.
    monkeypatch.setattr("consumers.ranking.home.evaluate_ranking", lambda *_, **__: {"table": "II"})
    monkeypatch.setattr("vidtopics.cli.ranking_reports.table_2", lambda report: print("Table II"))


def evaluated(home, capsys, *options):
    assert run(["evaluate", "ranking", "--home", str(home), *options]) == 0
    return capsys.readouterr().out


def test_learned_topics_that_are_the_planted_ones_recover_all(home, capsys):
    printed = evaluated(home, capsys)
    tree = json.loads(evaluated(home, capsys, "--json"))
    assert tree["table"] == "II"
    ceiling = tree["ceiling"]
    names = ["no topics", "learned topics", "planted topics", "planted tastes", "oracle"]
    assert [row["knows"] for row in ceiling["rows"]] == names
    of = {row["knows"]: row for row in ceiling["rows"]}
    assert of["learned topics"]["auc"] == pytest.approx(of["planted topics"]["auc"])
    assert of["no topics"]["gain"] == {"mean": 0, "low": 0, "high": 0}
    assert of["oracle"]["gain"]["low"] > of["planted topics"]["gain"]["high"]
    for row in ceiling["rows"]:
        assert row["auc"]["low"] < row["auc"]["mean"] < row["auc"]["high"]
        gain = row["auc"]["mean"] - of["no topics"]["auc"]["mean"]
        assert row["gain"]["mean"] == pytest.approx(gain)
    assert ceiling["world"]["impressions"] == report.Tables(home).read(IMPRESSIONS).num_rows
    assert printed.startswith("Table II\nCeiling of the simulated world (seed")
    assert f"  {of['oracle']['gain']['mean']:+.4f} (" in printed


def test_what_learned_topics_recover_is_a_ratio_of_gains(home):
    base, learned, planted, oracle = (np.array([x] * 4) for x in (0.6, 0.61, 0.64, 0.8))
    learned += [0.0, -0.004, 0.0, 0.004]
    aucs = {"no topics": base, "learned topics": learned}
    aucs |= {"planted topics": planted, "planted tastes": planted, "oracle": oracle}
    shares = report.recovered(aucs)
    assert shares["planted topics"]["mean"] == pytest.approx(0.25)  # .01 of .04
    assert shares["oracle"]["mean"] == pytest.approx(0.05)  # .01 of .2
    assert shares["planted topics"]["low"] == pytest.approx(0.155)  # .15, and a 20th to .25
    assert shares["planted topics"]["high"] == pytest.approx(0.345)


def test_the_report_is_kept_and_the_benchmark_prints_the_same(home, capsys, monkeypatch):
    printed = evaluated(home, capsys)
    monkeypatch.setattr(report, "written_world", None)  # simulated no more
    assert evaluated(home, capsys) == printed
    monkeypatch.setattr("sys.argv", ["planted", "--home", str(home)])
    planted.main()
    assert f"Table II\n{capsys.readouterr().out}" == printed


def test_quick_does_without_it(home, capsys):
    assert evaluated(home, capsys, "--quick") == "Table II\n"


def test_a_home_of_another_delivery_has_none(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    assert evaluated(tmp_path, capsys) == "Table II\n"
    assert "ceiling" not in json.loads(evaluated(tmp_path, capsys, "--json"))


def test_a_log_of_something_else_too_is_left_out_in_words(home, capsys, monkeypatch):
    monkeypatch.setattr(report, "source_hash", lambda *_: "other code")
    read = report.Tables.read

    def with_another(tables, table, **options):
        rows = read(tables, table, **options)
        return rows.slice(1) if table is IMPRESSIONS else rows

    monkeypatch.setattr(report.Tables, "read", with_another)
    printed = " ".join(evaluated(home, capsys).split())
    assert "Table II What planted topics would give: left out." in printed
    assert "impressions of the simulated world alone, found" in printed
    assert "Traceback" not in printed
    left_out = json.loads(evaluated(home, capsys, "--json"))["ceiling"]["left_out"]
    assert "Mend: evaluate a home made from the world alone" in left_out


def test_other_evaluations_name_the_command(home, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("consumers.ranking.home.evaluate_daily", lambda *_, **__: {})
    monkeypatch.setattr("vidtopics.cli.ranking_reports.figure_5", lambda _: None)
    monkeypatch.setattr("vidtopics.evaluate.recall.evaluate", lambda *_, **__: {})
    monkeypatch.setattr("vidtopics.cli.recall_report.show", lambda _: None)
    (tmp_path / "tables").mkdir()
    for verb in ("daily", "recall"):
        assert run(["evaluate", verb, "--home", str(home)]) == 0
        assert f"vidtopics evaluate ranking --home {home}" in capsys.readouterr().out
        assert run(["evaluate", verb, "--home", str(tmp_path)]) == 0
        assert capsys.readouterr().out == ""
