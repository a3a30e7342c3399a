"""The loop: seeds, epochs, checkpoints, device; what a search tries."""

import numpy as np
import pytest
import torch
from taste_worlds import SETTINGS, source

from consumers.ranking import train as training
from consumers.ranking.metrics import area_under_curve
from consumers.ranking.models import MODELS, VARIANTS
from consumers.ranking.search import LEARNERS, choices, search, train_model
from consumers.ranking.train import train
from vidtopics.errors import SettingsError

RANKING = SETTINGS.ranking


@pytest.fixture(scope="module")
def parts():
    rows = np.arange(1_000)
    return source(rows=1_000).parts(rows[:700], rows[700:])


def trained(parts, name="wide_and_deep", settings=RANKING, **options):
    options = {"seed": 1, "epochs": 2, **options}
    pieces = VARIANTS["topics"]
    return train(
        name, pieces, parts.sizes, parts.train, options.pop("judge", None), settings, **options
    )


def state(fitted):
    return fitted.model.state_dict()


def equal(one, other):
    return all(torch.equal(value, state(other)[name]) for name, value in state(one).items())


def test_a_seed_gives_the_same_bytes_and_another_seed_others(parts):
    first = trained(parts)
    assert equal(first, trained(parts))
    assert not equal(first, trained(parts, seed=2))


def test_the_best_epoch_on_the_validation_rows_is_kept(parts):
    fitted = trained(parts, judge=parts.judge, epochs=6)
    assert fitted.epochs == 1 + int(np.argmax(fitted.auc))
    auc = area_under_curve(parts.judge.clicked, fitted.predict(parts.judge))
    assert auc == pytest.approx(max(fitted.auc), abs=1e-9)
    assert equal(fitted, trained(parts, epochs=fitted.epochs))


def test_training_ends_where_validation_gets_no_better(parts, monkeypatch):
    values = iter([0.6, 0.7, 0.7, 0.65, 0.99])
    monkeypatch.setattr(training, "area_under_curve", lambda clicked, scores: next(values))
    fitted = trained(parts, judge=parts.judge, epochs=20)
    assert (fitted.auc, fitted.epochs) == ([0.6, 0.7, 0.7, 0.65], 2)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("survived", [1, 3])
def test_a_training_that_was_killed_goes_on_to_the_same_bytes(
    parts, tmp_path, monkeypatch, survived
):
    whole = trained(parts, judge=parts.judge, epochs=4)
    checkpoint, epoch = tmp_path / "run.pt", training._train_epoch

    def killed_after(state, *arguments):
        if state.epochs == survived:
            raise KilledError
        epoch(state, *arguments)

    monkeypatch.setattr(training, "_train_epoch", killed_after)
    with pytest.raises(KilledError):
        trained(parts, judge=parts.judge, epochs=4, checkpoint=checkpoint)
    assert checkpoint.is_file()
    ran = []
    monkeypatch.setattr(
        training, "_train_epoch", lambda s, *a: (ran.append(s.epochs), epoch(s, *a))
    )
    resumed = trained(parts, judge=parts.judge, epochs=4, checkpoint=checkpoint)
    assert ran[0] == survived
    assert equal(whole, resumed)
    assert resumed.auc == whole.auc
    assert not checkpoint.exists()


def test_a_checkpoint_of_another_training_or_a_broken_one_is_not_used(parts, tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.pt"
    with monkeypatch.context() as patch:
        patch.setattr(type(checkpoint), "unlink", lambda self, missing_ok=False: None)
        trained(parts, checkpoint=checkpoint, seed=5)
    whole = checkpoint.read_bytes()
    assert equal(trained(parts), trained(parts, checkpoint=checkpoint))
    checkpoint.write_bytes(whole[:99])
    assert equal(trained(parts), trained(parts, checkpoint=checkpoint))


def test_a_device_that_is_not_there_is_refused_by_name(parts, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"ranking\.device.*found cuda.*auto or cpu"):
        trained(parts, settings=RANKING.model_copy(update={"device": "cuda"}))
    assert training.choose_device("auto").type == "cpu"


def test_hidden_ids_train_the_unknown_one(parts):
    fitted, rows = trained(parts), trained(parts, epochs=1)
    for model in (fitted.model, rows.model):
        fresh = training.build(
            "wide_and_deep", parts.sizes, VARIANTS["topics"], training.widths_of(RANKING), seed=1
        )
        assert not torch.equal(model.deep.fields.user.weight[0], fresh.deep.fields.user.weight[0])


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_is_tried_at_the_same_points_for_every_variant(parts, name):
    assert choices(name, 3, 7) == choices(name, 3, 7)
    assert choices(name, 3, 7)[1:] != choices(name, 3, 8)[1:]
    fitted = train_model(
        name, VARIANTS["topics"], parts, RANKING, choices(name, 2, 7)[1], seed=1, epochs=2
    )
    scores = fitted.predict(parts.judge)
    assert scores.dtype == np.float32
    assert ((scores > 0) & (scores < 1)).all()


def test_a_search_takes_the_trial_that_is_best_on_validation(parts, monkeypatch):
    auc = iter([0.7, 0.8, 0.75])

    class Fitted:
        epochs = 3

        def __init__(self):
            self.auc = [next(auc)]

    monkeypatch.setattr("consumers.ranking.search.train_model", lambda *a, **k: Fitted())
    chosen = search("dcn", VARIANTS["none"], parts, RANKING, trials=3, seed=7)
    assert chosen.choice == choices("dcn", 3, 7)[1]
    assert (chosen.epochs, chosen.auc) == (3, [0.7, 0.8, 0.75])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_more_than_it_knew(parts, name):
    fitted = trained(parts, name=name, epochs=4)
    fresh = training.build(
        name, parts.sizes, VARIANTS["topics"], training.widths_of(RANKING), seed=1
    )
    before, after = (
        area_under_curve(parts.train.clicked, training.predict(m, parts.train))
        for m in (fresh, fitted.model)
    )
    assert after > max(before, 0.7)
