"""What topics are worth where they are worth much, nothing, or are other videos'."""

from dataclasses import replace

import numpy as np
import pytest
from taste_worlds import SETTINGS, source

from consumers.ranking import evaluate
from consumers.ranking.comparison import ablations, history_lengths, slices
from consumers.ranking.evaluate import measure, permute_topics
from consumers.ranking.metrics import area_under_curve
from consumers.ranking.models import VARIANTS, Pieces, layers
from consumers.ranking.search import train_model
from vidtopics.errors import TableError

TIME_ROWS = np.arange(2_000), np.arange(2_000, 3_000)
HELPFUL = 0.05


LONG = 30
"""Epochs in which products of embeddings are learned from two thousand rows."""


def auc(parts, pieces, name="wide_and_deep", epochs=6):
    epochs = (min(epochs, 6), epochs)
    fitted = train_model(name, pieces, parts, SETTINGS.ranking, {}, seed=1, epochs=epochs)
    return area_under_curve(parts.judge.clicked, fitted.predict(parts.judge))


@pytest.fixture(scope="module")
def parts():
    return source().parts(*TIME_ROWS)


@pytest.mark.parametrize("piece", ["match", "tiers", "attention"])
def test_each_piece_helps_by_itself_where_topics_decide(parts, piece):
    name, epochs = ("din", 12) if piece == "attention" else ("wide_and_deep", 6)
    without = auc(parts, Pieces(), name, epochs)
    assert auc(parts, Pieces(**{piece: True}), name, epochs) > without + HELPFUL


@pytest.mark.parametrize("piece", ["ids", "parents"])
def test_embedded_topics_help_by_themselves_unless_they_reach_the_model_as_zeros(
    piece, monkeypatch
):
    """A test of worth that passes without the topics' weights would say nothing."""
    rows = source(by_parent=True).parts(*TIME_ROWS)  # of four likings 2,000 rows teach little
    without, pieces = auc(rows, Pieces(), epochs=LONG), Pieces(**{piece: True})
    assert auc(rows, pieces, epochs=LONG) > without + HELPFUL
    monkeypatch.setattr(layers, "slot_shares", lambda codes, weights: weights * 0)
    monkeypatch.setattr(
        layers, "mixture", lambda rows, weights, places, count: places.new_zeros(len(rows), count)
    )
    assert auc(rows, pieces, epochs=LONG) < without + HELPFUL


@pytest.fixture(scope="module")
def reports():
    return {worth: measure(source(worth=worth), SETTINGS, quick=True) for worth in (True, False)}


def row_of(report, model, variant):
    (row,) = (
        r for r in report["splits"][0]["table"] if (r["model"], r["variant"]) == (model, variant)
    )
    return row


@pytest.mark.parametrize("model", ["wide_and_deep", "lightgbm"])
def test_the_table_says_what_topics_are_worth(reports, model):
    gain = row_of(reports[True], model, "topics")["gain"]
    assert gain["auc"]["low"] > 0.03
    assert gain["user_auc"]["low"] > 0 < gain["ndcg"]["low"]
    assert gain["log_loss"]["high"] < 0
    nothing = row_of(reports[False], model, "topics")["gain"]["auc"]
    assert nothing["low"] <= 0.005 < 0.01 > abs(nothing["mean"]) - 0.02


def test_permuted_topics_are_worth_nothing(reports):
    true = row_of(reports[True], "wide_and_deep", "topics")["gain"]["auc"]["mean"]
    for row in reports[True]["splits"][0]["permuted"]:
        assert row["gain"]["auc"]["mean"] < true / 4


def test_a_permutation_gives_each_video_one_other_video_s_topics():
    plain = source(rows=100, videos=40)
    rows, other = (s.inputs.views["video_topics"] for s in (plain, permute_topics(plain, seed=3)))
    assert other.values is rows.values
    names = rows.keys["video_id"].to_pylist(), other.keys["video_id"].to_pylist()
    assert sorted(names[0]) == sorted(names[1])
    assert sum(a == b for a, b in zip(*names, strict=True)) < 5
    double = replace(
        rows, keys=type(rows.keys).from_pydict({"video_id": [*names[0][:20], *names[0][:20]]})
    )
    views = {**plain.inputs.views, "video_topics": double}
    again = permute_topics(plain.with_inputs(replace(plain.inputs, views=views)), seed=3)
    moved = again.inputs.views["video_topics"].keys["video_id"].to_pylist()
    assert moved[:20] == moved[20:]  # the same other video at any time


def test_slices_are_what_they_are_called(parts):
    masks = slices(parts)
    test, train = parts.judge, parts.train
    assert masks["new videos"].tolist() == (test.video == 0).tolist()
    lengths = history_lengths(test)
    assert set(lengths) <= set(range(SETTINGS.ranking.history + 1))
    assert (masks["long histories"] ^ masks["short histories"]).all()
    assert (lengths[masks["long histories"]] == 20).all()
    counts = np.bincount(train.video)
    least = counts[test.video[masks["head"]]].min()
    assert least >= counts[test.video[masks["tail"]]].max()
    assert not (masks["head"] & masks["tail"]).any()
    assert (masks["head"] | masks["tail"] | masks["new videos"]).all()


def test_ablations_leave_out_one_piece_or_all_but_one():
    for name, (_, pieces) in ablations().items():
        count = sum(vars(pieces).values()) - pieces.base
        assert count == (1 if "alone" in name else {"all": 5, "none": 0}.get(name.split()[-1], 4))
    assert VARIANTS["topics"] == ablations()["din, all"][1]


@pytest.mark.parametrize("rows", [0, 1, 6])
def test_a_log_that_is_too_small_is_told_in_one_line(rows):
    with pytest.raises(TableError, match=r"some with and some without a click.*Mend: ingest"):
        measure(source(rows=rows, videos=5, users=2), SETTINGS, quick=True)


def test_a_log_without_clicks_is_told():
    plain = source(rows=200)
    clicks = plain.inputs.clicks.slice(0, 0)
    with pytest.raises(TableError, match="found 0 clicked of"):
        measure(plain.with_inputs(replace(plain.inputs, clicks=clicks)), SETTINGS, quick=True)


def test_the_whole_table_has_all_models_both_splits_and_the_ablation(monkeypatch):
    monkeypatch.setattr(evaluate, "PERMUTATIONS", 1)
    settings = SETTINGS.model_copy(
        update={"ranking": SETTINGS.ranking.model_copy(update={"epochs": 1})}
    )
    log = source(rows=400, users=8, settings=settings)
    report = measure(log, settings, served=log)
    time, user, served = report["splits"]
    assert [r["auc"] for r in served["table"]] == [
        r["auc"] for r in time["table"] if r["model"] in ("wide_and_deep", "dcn")
    ]
    assert len(time["table"]) == 6 * 4
    assert {r["model"] for r in user["table"]} == {"wide_and_deep", "dcn"}
    assert [r["row"] for r in time["ablation"]] == list(ablations())
    assert len(time["permuted"]) == 2
    assert all(r["gain"] is None for r in time["table"] if r["variant"] == "none")
    for model in ("lr", "din", "lightgbm"):  # the world has no covers
        assert row_of(report, model, "none")["auc"] == row_of(report, model, "cover")["auc"]
