"""Learning planted classes from planted encodings: what must come out, seed for seed."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from producers.content.dataset import Targets, make_targets
from producers.content.training import batches, joint_representation, train_joint
from vidtopics.errors import ContractError, SettingsError
from vidtopics.settings import ContentSettings

SETTINGS = ContentSettings(
    projection_width=16,
    experts=4,
    expert_width=16,
    tower_width=16,
    iterations=60,
    batch_size=60,
    learning_rate=3e-3,
)
VIDEOS, CLASSES = 300, 6


@dataclasses.dataclass(frozen=True)
class World:
    """Six classes: the cover tells three pairs apart, the title within a pair, under loud noise."""

    label: np.ndarray
    inputs: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    targets: Targets


def planted(seed: int = 0, tags: int = 12) -> World:
    random = np.random.default_rng(seed)
    label = np.arange(VIDEOS) % CLASSES
    image = random.normal(size=(VIDEOS, 24)).astype(np.float32)
    title = random.normal(size=(VIDEOS, 20)).astype(np.float32)
    image[:, :3] += 2.5 * np.eye(3)[label // 2]
    title[:, 0] += 4.0 * (label % 2)
    has = np.ones(VIDEOS, bool)
    targets = make_targets(
        [[f"p{c // 2}"] for c in label],
        [[f"s{c}"] for c in label],
        [[f"t{c % tags}", "all"] for c in label],
        min_tag_videos=2,
        max_tags=100,
    )
    return World(label, (image, title, has, has), targets)


@pytest.fixture(scope="module")
def world() -> World:
    return planted()


def separation(z: np.ndarray, label: np.ndarray) -> float:
    clusters = KMeans(CLASSES, n_init=5, random_state=0).fit_predict(z)
    return adjusted_rand_score(label, clusters)


def test_of_all_videos_the_named_rows_train(world):
    """As if the others weren't there: the same model, bit for bit."""
    rows = np.arange(0, VIDEOS, 3)
    names = [[[f"{level}{c}"] for c in world.label[rows]] for level in "pst"]
    targets = make_targets(*names, min_tag_videos=2, max_tags=100)
    short = SETTINGS.model_copy(update={"iterations": 3})
    part = train_joint(*(x[rows] for x in world.inputs), targets, short, seed=1)
    whole = train_joint(*world.inputs, targets, short, seed=1, rows=rows)
    assert np.array_equal(part.losses, whole.losses)
    for one, other in zip(part.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_separates_what_the_encoders_only_hint_at(world):
    trained = train_joint(*world.inputs, world.targets, SETTINGS, seed=1)
    untrained = train_joint(
        *world.inputs, world.targets, SETTINGS.model_copy(update={"iterations": 1}), seed=1
    )
    before, after = (
        separation(joint_representation(m.model, *world.inputs)[0], world.label)
        for m in (untrained, trained)
    )
    assert after > before + 0.3
    assert trained.losses.shape == (60, 3)
    assert (trained.losses[-10:].mean(0) < 0.9 * trained.losses[0]).all()


def test_first_loss_is_that_of_guessing(world):
    """Small random towers predict near 1/M: ln 3, ln 6 and, over 7 tags, ln 7."""
    first = train_joint(*world.inputs, world.targets, SETTINGS, seed=1).losses[0]
    np.testing.assert_allclose(first, np.log([3, 6, 7]), atol=0.12)


def test_same_seed_same_bytes_and_another_seed_another_model(world):
    short = SETTINGS.model_copy(update={"iterations": 5})
    torch.manual_seed(99)
    state_before = torch.get_rng_state()
    one, two, other = (train_joint(*world.inputs, world.targets, short, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state_before)
    assert one.losses.tobytes() == two.losses.tobytes() != other.losses.tobytes()
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[key])


def test_golden_losses(world):
    short = SETTINGS.model_copy(update={"iterations": 3})
    losses = train_joint(*world.inputs, world.targets, short, seed=7).losses
    np.testing.assert_allclose(losses[-1], [1.1224, 1.7843, 1.9173], atol=5e-3)


def test_a_task_without_classes_adds_nothing(world):
    """A catalogue without tags still trains on its two class levels."""
    none = [[]] * VIDEOS
    targets = make_targets(
        [[f"p{c // 2}"] for c in world.label], none, none, min_tag_videos=2, max_tags=100
    )
    trained = train_joint(*world.inputs, targets, SETTINGS, seed=1)
    assert not trained.losses[:, 1:].any()
    assert trained.losses[-10:, 0].mean() < 0.9 * trained.losses[0, 0]


def test_a_task_without_classes_is_no_warning(world, recwarn):
    none = [[]] * VIDEOS
    targets = make_targets(none, none, none, min_tag_videos=2, max_tags=100)
    trained = train_joint(*world.inputs, targets, SETTINGS, seed=1)
    assert not trained.losses.any()
    assert not recwarn.list


@pytest.mark.timeout(60)
@pytest.mark.parametrize("iterations", [1, 200])
def test_no_video_to_train_on_is_refused_at_once(world, iterations):
    """Batches waited for rows that never came: without the check this test ends by its timeout."""
    message = "at least 1 video to learn from, found 0"
    with pytest.raises(ContractError, match=message):
        batches(0, 8, iterations, seed=1)  # before the first batch is asked for
    nothing = [x[:0] for x in world.inputs]
    targets = make_targets([], [], [], min_tag_videos=2, max_tags=100)
    settings = SETTINGS.model_copy(update={"iterations": iterations})
    with pytest.raises(ContractError, match=message):
        train_joint(*nothing, targets, settings, seed=1)
    initial = train_joint(
        *world.inputs, world.targets, SETTINGS.model_copy(update={"iterations": 1}), seed=1
    ).model
    with pytest.raises(ContractError, match=message):
        train_joint(*nothing, targets, settings, seed=1, initial=initial)


def test_one_video_and_equal_videos_train(world):
    """Every batch repeats the same row; losses are finite and z has length 1."""
    for rows in ([0], [0] * 5):
        inputs = [x[rows] for x in world.inputs]
        names = [["p"] for _ in rows]
        targets = make_targets(names, names, names, min_tag_videos=1, max_tags=9)
        trained = train_joint(
            *inputs, targets, SETTINGS.model_copy(update={"iterations": 3}), seed=1
        )
        z, _ = joint_representation(trained.model, *inputs)
        assert not trained.losses.any()  # one class: p = 1 from the start
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)


def test_a_loss_that_overflows_names_the_learning_rate(world):
    settings = SETTINGS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(SettingsError, match=r"content\.learning_rate, iteration \d+: .* at 1e\+30"):
        train_joint(*world.inputs, world.targets, settings, seed=1)


def test_progress_counts_each_iteration(world):
    seen = []
    train_joint(
        *world.inputs,
        world.targets,
        SETTINGS.model_copy(update={"iterations": 3}),
        seed=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_batches_pass_over_all_videos_before_any_comes_again():
    rows = np.concatenate(list(batches(70, 30, 14, seed=3)))  # 420 rows: six passes over 70
    for start in range(0, 420, 70):
        assert sorted(rows[start : start + 70]) == list(range(70))
    assert rows[:70].tolist() != rows[70:140].tolist()


def test_fewer_videos_than_a_batch_still_fill_it():
    assert [len(rows) for rows in batches(7, 30, 2, seed=3)] == [30, 30]


def test_representation_has_length_one_zero_if_empty_and_flags(world):
    image, title, *_ = (x[:4] for x in world.inputs)
    has_image, has_title = (
        np.array([True, True, False, False]),
        np.array([True, False, True, False]),
    )
    model = train_joint(*world.inputs, world.targets, SETTINGS, seed=1).model
    z, blocks = joint_representation(model, image, title, has_image, has_title)
    assert (z.dtype, z.shape, blocks.dtype) == (np.float32, (4, 32), np.int64)
    assert blocks.tolist() == [3, 1, 2, 0]
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), [1, 1, 1, 0], atol=1e-6)


def test_representation_is_without_dropout_in_whatever_mode_the_model_was_left(world):
    model = train_joint(
        *world.inputs, world.targets, SETTINGS.model_copy(update={"iterations": 2}), seed=1
    ).model
    first, _ = joint_representation(model, *world.inputs)
    second, _ = joint_representation(model.train(), *world.inputs)
    assert first.tobytes() == second.tobytes()


def test_representation_of_a_video_does_not_depend_on_the_others(world, monkeypatch):
    model = train_joint(*world.inputs, world.targets, SETTINGS, seed=1).model
    whole, _ = joint_representation(model, *world.inputs)
    monkeypatch.setattr("producers.content.representation.ROWS", 7)
    pieces, _ = joint_representation(model, *world.inputs)
    np.testing.assert_allclose(pieces, whole, atol=1e-7)
    order = np.random.default_rng(0).permutation(VIDEOS)
    permuted, _ = joint_representation(model, *(x[order] for x in world.inputs))
    np.testing.assert_allclose(permuted, whole[order], atol=1e-6)


def test_warm_start_keeps_z_where_a_fresh_start_does_not(world):
    """A second run on the same videos with one more tag: cosine of each z to what it was."""
    short = SETTINGS.model_copy(update={"iterations": 20})
    first = train_joint(*world.inputs, world.targets, SETTINGS, seed=1)
    grown = planted(tags=5)
    z = joint_representation(first.model, *world.inputs)[0]
    cosine = {}
    for name, initial in (("warm", first.model), ("fresh", None)):
        again = train_joint(*world.inputs, grown.targets, short, seed=2, initial=initial)
        cosine[name] = (joint_representation(again.model, *world.inputs)[0] * z).sum(1)
    assert cosine["warm"].min() > 0.9
    assert cosine["fresh"].mean() < 0.5


def test_warm_start_begins_where_the_last_run_ended(world):
    first = train_joint(*world.inputs, world.targets, SETTINGS, seed=1)
    again = train_joint(*world.inputs, world.targets, SETTINGS, seed=2, initial=first.model)
    assert again.losses[0].sum() < first.losses[0].sum() * 0.8
