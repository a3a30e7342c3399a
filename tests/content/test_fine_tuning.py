"""End to end on tiny encoders with drawn covers: what Eq. 2 must do to f_C, f_T and z."""

import numpy as np
import pytest
import torch
from drawn_videos import LIMIT, VIDEOS, encoders, settings, tune, videos, weights
from sklearn.metrics import silhouette_score

from producers.content.dataset import make_targets
from producers.content.encoding import encode
from producers.content.end_to_end import EndToEndModel
from producers.content.fine_tuning import fine_tune
from producers.content.training import joint_representation
from vidtopics.errors import ContractError, SettingsError
from vidtopics.settings import ContentSettings


def representation(joint, trained, covers, titles) -> np.ndarray:
    e = encode(*trained, covers, titles, max_pixels=LIMIT, image_batch=64, title_batch=64)
    return joint_representation(joint, e.image, e.title, e.has_image, e.has_title)[0]


def test_fine_tuning_teaches_both_encoders_the_planted_classes():
    covers, titles, _, label = videos()
    trained = encoders()
    start = {k: v.clone() for e in trained for k, v in e.named_parameters()}
    untrained = tune(encoders(), settings(iterations=1, learning_rate=1e-9))
    before = representation(untrained.joint, trained, covers, titles)
    log = []
    tuned = tune(trained, settings(), log=log.append)
    after = representation(tuned.joint, trained, covers, titles)
    assert tuned.losses.shape == (40, 3)
    assert (tuned.losses[-5:].mean(0) < 0.7 * tuned.losses[:2].mean(0)).all()
    for encoder in trained:
        moved = [n for n, p in encoder.named_parameters() if not torch.equal(p, start[n])]
        assert len(moved) > 0.8 * len(list(encoder.parameters()))
    assert silhouette_score(after, label) > silhouette_score(before, label) + 0.2
    unseen_covers, unseen_titles, _, unseen_label = videos(seed=1)
    unseen = representation(tuned.joint, trained, unseen_covers, unseen_titles)
    assert silhouette_score(unseen, unseen_label) > silhouette_score(before, label) + 0.05
    assert [facts.step for facts in log] == list(range(1, 41))
    assert log[-1].losses == tuple(tuned.losses[-1].tolist())
    assert str(log[-1]).startswith("iteration 40/40: loss primary 0.")
    assert "videos/s (CPU, threads: " in str(log[-1])
    assert (tuned.best_step, tuned.stopped_early, tuned.checks) == (40, False, {})


def test_pieces_of_a_batch_add_up_to_the_batch():
    drawn = videos()
    drawn[0][3], drawn[1][4] = None, ""
    results = []
    for piece in (32, 5):
        trained = encoders()
        tuned = tune(trained, settings(piece, iterations=3, learning_rate=1e-3), drawn=drawn)
        results.append((tuned.losses, weights(trained, tuned)))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-4)


def test_same_seed_same_losses_with_dropout_and_the_global_state_untouched():
    runs = []
    for seed in (1, 1, 2):
        trained = encoders(dropout=0.3)
        torch.manual_seed(77)
        state = torch.get_rng_state()
        runs.append(tune(trained, settings(iterations=2), seed=seed).losses)
        assert torch.equal(torch.get_rng_state(), state)
    assert runs[0].tobytes() == runs[1].tobytes() != runs[2].tobytes()


def test_batch_normalisation_keeps_its_statistics():
    trained = encoders()
    before = {k: v.clone() for k, v in trained[0].named_buffers()}
    tune(trained, settings(iterations=2))
    assert before
    for key, value in trained[0].named_buffers():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("task", range(3))
def test_gradient_of_each_task_reaches_both_encoders(task):
    image_encoder, title_encoder = trained = encoders()
    model = EndToEndModel(*trained, tune(trained, settings(iterations=1)).joint)
    present = torch.ones(2, dtype=torch.bool)
    model.zero_grad()
    tokens = title_encoder.tokens(videos()[1][:2])
    model(torch.randn(2, 3, 32, 32), tokens, present, present)[task].square().sum().backward()
    assert image_encoder.network.conv_stem.weight.grad.abs().sum() > 0
    assert title_encoder.transformer.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_a_missing_modality_teaches_its_encoder_nothing():
    trained, drawn = encoders(), videos()
    start = {k: v.clone() for k, v in trained[0].named_parameters()}
    tune(trained, settings(iterations=2), drawn=([None] * VIDEOS, *drawn[1:]))
    assert all(torch.equal(p, start[k]) for k, p in trained[0].named_parameters())


def test_the_validation_part_stops_training_and_gives_the_best_weights_back():
    """Its labels are those of other videos: what is learned makes them worse sooner or later."""
    covers, titles, targets, _ = videos()
    validation = np.arange(VIDEOS) % 4 == 0
    wrong = targets.labels[0].toarray()
    wrong[validation] = wrong[validation][:, ::-1]
    misled = type(targets)(targets.classes, (type(targets.labels[0])(wrong), *targets.labels[1:]))
    content = settings(patience=2, check_every=3, learning_rate=1e-2)
    trained = encoders()
    tuned = tune(trained, content, drawn=(covers, titles, misled, None), validation=validation)
    steps = list(tuned.checks)
    assert tuned.stopped_early
    assert tuned.best_step == min(tuned.checks, key=tuned.checks.get)
    assert len(tuned.losses) == steps[-1] == tuned.best_step + 2 * 3 < 40
    # As many iterations and no more, from the start: the same weights.
    short, other = content.model_copy(update={"iterations": tuned.best_step}), encoders()
    expected = tune(other, short, drawn=(covers, titles, misled, None), validation=validation)
    given_back = weights(trained, tuned)
    for name, array in weights(other, expected).items():
        np.testing.assert_array_equal(given_back[name], array, err_msg=name)


def test_a_validation_video_teaches_nothing():
    """With other labels and another cover it changes the checks and no weight."""
    validation, results = np.arange(VIDEOS) < 8, []
    for seed in (0, 1):
        covers, titles, targets, _ = videos()
        others = videos(seed=seed)
        drawn = ([*others[0][:8], *covers[8:]], [*others[1][:8], *titles[8:]], targets, None)
        trained = encoders()
        content = settings(iterations=4, patience=9, check_every=4)
        tuned = tune(trained, content, drawn=drawn, validation=validation)
        results.append((tuned.checks, weights(trained, tuned)))
    (checks, first), (other_checks, second) = results
    assert checks.keys() == other_checks.keys() == {4}
    assert checks != other_checks
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_learning_rate_that_overflows_is_named_before_it_reaches_the_weights():
    trained = encoders()
    with pytest.raises(SettingsError, match=r"lower content\.learning_rate"):
        tune(trained, settings(learning_rate=1e12))
    assert all(p.isfinite().all() for p in trained[0].parameters())


@pytest.mark.timeout(60)
def test_no_video_to_train_on_is_refused_at_once():
    targets = make_targets([], [], [], min_tag_videos=2, max_tags=9)
    with pytest.raises(ContractError, match="at least 1 video to learn from, found 0"):
        fine_tune(*encoders(), [], [], targets, ContentSettings(), seed=1, max_pixels=LIMIT)
