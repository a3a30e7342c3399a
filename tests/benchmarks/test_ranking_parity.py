"""The parity benchmark: what FuxiCTR is given, and what is printed without it."""

import json
import sys

import numpy as np
import pytest
import torch

from benchmarks import ranking, ranking_parity
from vidtopics.settings import RankingSettings, Settings

SETTINGS = RankingSettings(device="cpu", history=5)


@pytest.fixture(scope="module")
def parts():
    rows = np.arange(300)
    return ranking.synthetic(300, Settings(ranking=SETTINGS)).parts(rows[:200], rows[200:])


def test_nothing_is_measured_without_fuxictr(monkeypatch, capsys):
    monkeypatch.delenv("FUXICTR_PYTHON", raising=False)
    assert ranking_parity.main(["no-home"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "skipped: FUXICTR_PYTHON names no Python with FuxiCTR (pip install fuxictr==2.3.10)"
    ]


def test_the_peer_reads_the_same_rows_with_codes_one_higher(parts, tmp_path):
    ranking_parity.write_rows(tmp_path, parts, SETTINGS)
    rows = np.load(tmp_path / "rows.npz")
    batch = parts.train.batch(np.arange(200))
    assert rows["train_user"].tolist() == (batch.user + 1).tolist()
    assert (rows["test_video"] == 1).any()  # unknown, not padding
    for n in range(200):
        clicked = batch.history_mask[n] & batch.history_clicked[n]
        clicks = rows["train_clicks"][n]
        assert clicks[clicks > 0].tolist() == (batch.history_videos[n][clicked] + 1).tolist()
    assert rows["train_numbers"].mean(0) == pytest.approx(0, abs=0.1)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["sizes"] == {
        "users": parts.sizes.users,
        "videos": parts.sizes.videos,
        "embedding": SETTINGS.embedding_width,
    }


@pytest.mark.parametrize(("gap", "status"), [(0.0005, 0), (0.002, 1)])
def test_a_difference_beyond_the_bound_fails(gap, status, monkeypatch):
    monkeypatch.setenv("FUXICTR_PYTHON", sys.executable)
    monkeypatch.setattr(
        ranking_parity,
        "measure",
        lambda home, python, seeds: ranking_parity.report("lr", [0.7], [0.7 + gap]),
    )
    assert ranking_parity.main(["home"]) == status


def test_histories_of_clicks_alone_and_none(parts):
    rows = np.arange(150, 200)
    plain = parts.train.batch(rows)
    clicks = ranking_parity.Clicks(**vars(parts.train)).batch(rows).history_mask
    assert torch.equal(clicks, plain.history_mask & plain.history_clicked)
    empty = ranking_parity.NoHistory(**vars(parts.train)).take(rows)
    assert not empty.batch(np.arange(9)).history_mask.any()
