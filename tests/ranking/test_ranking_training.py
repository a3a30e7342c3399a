"""The loop: seeds, epochs, checkpoints, device; what a search tries."""

from dataclasses import replace

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
    options = {"seed": 1, "epochs": (2, 2), "pieces": VARIANTS["topics"], **options}
    judge, pieces = options.pop("judge", None), options.pop("pieces")
    return train(name, pieces, parts.sizes, parts.train, judge, settings, **options)


def state(fitted):
    return fitted.model.state_dict()


def equal(one, other):
    return all(torch.equal(value, state(other)[name]) for name, value in state(one).items())


def test_a_seed_gives_the_same_bytes_and_another_seed_others(parts):
    first = trained(parts)
    assert equal(first, trained(parts))
    assert not equal(first, trained(parts, seed=2))


def test_the_best_epoch_on_the_validation_rows_is_kept(parts):
    fitted = trained(parts, judge=parts.judge, epochs=(6, 6))
    assert fitted.base.epochs == fitted.epochs[:1] == (1 + int(np.argmax(fitted.base.auc)),)
    assert fitted.epochs[1] == int(np.argmax(fitted.auc))
    assert fitted.auc[0] == pytest.approx(max(fitted.base.auc), abs=1e-6)
    auc = area_under_curve(parts.judge.clicked, fitted.predict(parts.judge))
    assert auc == pytest.approx(max(fitted.auc), abs=1e-6)
    assert equal(fitted, trained(parts, epochs=fitted.epochs))


def test_a_head_of_no_epochs_leaves_the_model_without_topics(parts):
    fitted = trained(parts, epochs=(2, 0))
    without = trained(parts, pieces=VARIANTS["none"], epochs=(2, 0))
    assert (fitted.epochs, without.epochs) == ((2, 0), (2,))
    assert np.array_equal(fitted.predict(parts.judge), without.predict(parts.judge))
    more = trained(parts, epochs=(2, 1))
    assert not np.array_equal(fitted.predict(parts.judge), more.predict(parts.judge))
    assert equal(fitted.base, more.base)


def test_a_head_on_a_given_base_is_that_of_a_whole_training(parts):
    base = trained(parts, pieces=VARIANTS["none"])
    assert equal(trained(parts), trained(parts, base=base))


def test_a_head_learns_the_same_whoever_users_and_videos_are(parts):
    """The base knows the ids of its training rows by heart; a head must not see how well."""
    base = trained(parts, pieces=VARIANTS["none"])
    rows = parts.train
    others = replace(rows, user=rows.user[::-1].copy(), video=rows.video[::-1].copy())
    heads = [trained(replace(parts, train=of), base=base).model.head for of in (rows, others)]
    assert not np.array_equal(base.log_odds(rows), base.log_odds(others))
    for one, other in zip(*(head.parameters() for head in heads), strict=True):
        assert torch.equal(one, other)


def test_scores_are_those_of_the_composed_model(parts):
    fitted = trained(parts)
    alone = training.predict(fitted.model, parts.judge)
    assert np.array_equal(fitted.predict(parts.judge), alone)
    assert np.array_equal(fitted.predict(parts.judge), alone)  # remembered
    fewer = parts.judge.take(np.arange(9))
    assert np.array_equal(fitted.predict(fewer), training.predict(fitted.model, fewer))


def test_training_ends_where_validation_gets_no_better(parts, monkeypatch):
    values = iter([0.6, 0.7, 0.7, 0.65, 0.99])
    monkeypatch.setattr(training, "area_under_curve", lambda clicked, scores: next(values))
    fitted = trained(parts, judge=parts.judge, pieces=VARIANTS["none"], epochs=(20,))
    assert (fitted.auc, fitted.epochs) == ([0.6, 0.7, 0.7, 0.65], (2,))


def test_a_head_that_never_helps_is_left_out(parts, monkeypatch):
    base = trained(parts, pieces=VARIANTS["none"])
    values = iter([0.7, 0.7, 0.69, 0.99])
    monkeypatch.setattr(training, "area_under_curve", lambda clicked, scores: next(values))
    fitted = trained(parts, judge=parts.judge, epochs=(2, 20), base=base)
    assert (fitted.auc, fitted.epochs) == ([0.7, 0.7, 0.69], (2, 0))
    monkeypatch.undo()
    assert np.array_equal(fitted.predict(parts.judge), base.predict(parts.judge))


class KilledError(Exception):
    pass


@pytest.mark.parametrize("survived", [1, 5])
def test_a_training_that_was_killed_goes_on_to_the_same_bytes(
    parts, tmp_path, monkeypatch, survived
):
    """After the first epoch of the model without topics, and after two of its head."""
    monkeypatch.setattr(training, "PATIENCE", 9)
    whole, ran = trained(parts, judge=parts.judge, epochs=(3, 3)), []
    checkpoint, epoch = tmp_path / "run.pt", training._train_epoch

    def killed_after(state, *arguments):
        if len(ran) == survived:
            raise KilledError
        ran.append(state.epochs)
        epoch(state, *arguments)

    monkeypatch.setattr(training, "_train_epoch", killed_after)
    with pytest.raises(KilledError):
        trained(parts, judge=parts.judge, epochs=(3, 3), checkpoint=checkpoint)
    assert checkpoint.is_file()
    monkeypatch.setattr(
        training, "_train_epoch", lambda s, *a: (ran.append(s.epochs), epoch(s, *a))
    )
    resumed = trained(parts, judge=parts.judge, epochs=(3, 3), checkpoint=checkpoint)
    assert ran == [0, 1, 2, 0, 1, 2]  # none of them twice
    assert equal(whole, resumed)
    assert resumed.auc == whole.auc
    assert not list(tmp_path.iterdir())


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
    fitted, rows = trained(parts), trained(parts, epochs=(1, 1))
    for model in (fitted.base.model, rows.base.model):
        fresh = training.build(
            "wide_and_deep", parts.sizes, VARIANTS["none"], training.widths_of(RANKING), seed=1
        )
        assert not torch.equal(model.deep.fields.user.weight[0], fresh.deep.fields.user.weight[0])


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_is_tried_at_the_same_points_for_every_variant(parts, name):
    assert choices(name, 3, 7) == choices(name, 3, 7)
    assert choices(name, 3, 7)[1:] != choices(name, 3, 8)[1:]
    choice = {**choices(name, 2, 7)[1], **choices(name, 2, 7, of_head=True)[1]}
    if name == "lightgbm":
        choice = choices(name, 2, 7)[1]
    fitted = train_model(name, VARIANTS["topics"], parts, RANKING, choice, seed=1, epochs=(2, 2))
    scores = fitted.predict(parts.judge)
    assert scores.dtype == np.float32
    assert ((scores > 0) & (scores < 1)).all()


def test_a_search_takes_the_trial_that_is_best_on_validation(parts, monkeypatch):
    auc = iter([0.7, 0.8, 0.75])

    class Fitted:
        epochs = (3,)

        def __init__(self):
            self.auc = [next(auc)]

    monkeypatch.setattr("consumers.ranking.search.train_model", lambda *a, **k: Fitted())
    chosen = search("dcn", VARIANTS["none"], parts, RANKING, trials=3, seed=7)
    assert chosen.choice == choices("dcn", 3, 7)[1]
    assert (chosen.epochs, chosen.auc) == ((3,), [0.7, 0.8, 0.75])


def test_a_search_with_topics_goes_on_from_the_model_without_them(parts, monkeypatch):
    calls = []

    class Fitted:
        epochs = (3,)

        def __init__(self, name, pieces, parts, settings, choice, *, seed, base=None):
            calls.append((pieces, choice, base))
            self.auc = [len(calls) / 100]

    monkeypatch.setattr("consumers.ranking.search.train_model", Fitted)
    options = {"trials": 2, "seed": 7}
    without = search("dcn", VARIANTS["none"], parts, RANKING, **options)
    chosen = search("dcn", VARIANTS["topics"], parts, RANKING, base=without, **options)
    again = search("dcn", VARIANTS["topics"], parts, RANKING, **options)
    drawn, of_head = choices("dcn", 2, 7)[1], choices("dcn", 2, 7, of_head=True)[1]
    assert chosen.choice == again.choice == {**drawn, **of_head}
    of_topics = [(choice, base) for pieces, choice, base in calls if pieces.has_head]
    assert of_topics[:2] == [(drawn, without.fitted), (chosen.choice, without.fitted)]
    assert len(calls) == 2 + 2 + 4


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_more_than_it_knew(parts, name):
    fitted = trained(parts, name=name, epochs=(4, 4))
    fresh = training.build(name, parts.sizes, VARIANTS["none"], training.widths_of(RANKING), seed=1)
    before, after = (
        area_under_curve(parts.train.clicked, training.predict(m, parts.train))
        for m in (fresh, fitted.model)
    )
    assert after > max(before, 0.7)
