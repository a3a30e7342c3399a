"""The tag block's weight: worlds whose right answer is known."""

import numpy as np
import pytest

from producers.topics import calibration
from producers.topics.calibration import (
    EQUAL,
    RATIOS,
    Fold,
    calibrate_space,
    local_quadratics,
)
from producers.topics.cross_fitting import cross_fitted_folds, fold_of
from vidtopics.settings import ContentSettings

NO_MEAN = np.zeros(16, np.float32)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(calibration, "LEAST_VIDEOS", 300)
    monkeypatch.setattr(calibration, "CLUSTERINGS", 3)
    monkeypatch.setattr(calibration, "HALF_SAMPLES", 30)


def fold(seed, *, tag_noise, joint_noise=0.35, videos=200, attributes=False):
    """Eight classes. Tags follow them, or eight attributes that have nothing to do with them."""
    truth = np.random.default_rng(seed).integers(0, 8, videos)
    planted = np.random.default_rng(99)  # the same centres in each fold
    centres = planted.normal(size=(2, 8, 16))
    rng = np.random.default_rng(seed + 1)
    shown = rng.integers(0, 8, videos) if attributes else truth
    tag = centres[0][shown] + tag_noise * 4 * rng.normal(size=(videos, 16))
    joint = centres[1][truth] + joint_noise * 4 * rng.normal(size=(videos, 16))
    every = np.ones(videos, bool)
    return Fold(tag.astype(np.float32), joint.astype(np.float32), every, every, {"primary": truth})


def weight(*folds):
    space = calibrate_space(folds, NO_MEAN, seed=1).space
    return space.tag_weight / space.joint_weight


def test_attributes_lose_their_weight():
    folds = [fold(s, tag_noise=0.05, attributes=True) for s in (0, 10)]
    result = calibrate_space(folds, NO_MEAN, seed=1)
    assert result.space.tag_weight < 0.6
    assert result.reason.startswith("tag block 0.")
    [chosen] = [p for p in result.curve if p.tag_weight == result.space.tag_weight]
    assert chosen.low > 0
    assert chosen.smooth == max(p.smooth for p in result.curve)


def test_tags_that_tell_more_than_content_gain_weight():
    assert weight(*(fold(s, tag_noise=0.1, joint_noise=1.0) for s in (0, 10))) > 1


def test_equal_weights_stay_where_nothing_is_better_beyond_noise():
    folds = [fold(s, tag_noise=0.35) for s in (0, 10)]
    result = calibrate_space(folds, NO_MEAN, seed=1)
    assert (result.space.tag_weight, result.space.joint_weight) == (1, 1)
    assert result.reason.startswith("equal weights: ")
    assert [p.tag_weight for p in result.curve] == RATIOS.tolist()
    assert result.curve[EQUAL].low == result.curve[EQUAL].high == 0


def test_too_few_videos_are_not_asked():
    result = calibrate_space([fold(0, tag_noise=0.05, attributes=True)], NO_MEAN, seed=1)
    assert (result.space.tag_weight, result.curve) == (1, ())
    assert "200 videos with classes, 300 are needed" in result.reason


def test_videos_without_a_class_or_a_block_are_left_out():
    one, two = fold(0, tag_noise=0.2), fold(10, tag_noise=0.2)
    none = np.full(40, -1)
    more = Fold(
        np.concatenate([two.tag, one.tag[:40]]),
        np.concatenate([two.joint, one.joint[:40]]),
        np.ones(240, bool),
        np.ones(240, bool),
        {"primary": np.concatenate([two.classes["primary"], none])},
    )
    plain, longer = (calibrate_space([one, f], NO_MEAN, seed=1) for f in (two, more))
    assert "200" not in longer.reason
    scores = [[p.score for p in result.curve] for result in (plain, longer)]
    np.testing.assert_allclose(*scores, atol=0.08)  # other seeds of other rows, the same videos


def test_a_seed_gives_one_curve():
    folds = [fold(s, tag_noise=0.2) for s in (0, 10)]
    one, two = (calibrate_space(folds, NO_MEAN, seed=5) for _ in range(2))
    assert one.curve == two.curve


def test_smoothing_finds_the_optimum_that_single_points_miss():
    x = np.log2(RATIOS)
    truth = 0.5 - 0.02 * (x + 1) ** 2
    noisy = truth + 0.02 * np.random.default_rng(0).normal(size=len(x))
    smooth = local_quadratics(x, calibration.BANDWIDTH) @ noisy
    assert abs(x[np.argmax(smooth)] + 1) < 0.6
    assert np.abs(smooth - truth).mean() < np.abs(noisy - truth).mean()


def test_each_half_is_represented_by_the_model_of_the_other(monkeypatch):
    """A model that has seen a video's labels would hand out its own answer."""
    from producers.topics import cross_fitting

    rng = np.random.default_rng(0)
    videos = 60
    contents = [f"c{i // 2}" for i in range(videos)]  # each content twice
    halves = fold_of(contents)
    encodings = (
        rng.normal(size=(videos, 6)).astype(np.float32),
        rng.normal(size=(videos, 4)).astype(np.float32),
        np.ones(videos, bool),
        np.ones(videos, bool),
    )
    names = [[["x", "y"][i % 2]] for i in range(videos)]
    trained_rows = []
    train = cross_fitting.train_joint

    def spy(image, *rest, **options):
        trained_rows.append(image[options["rows"]])
        return train(image, *rest, **options)

    monkeypatch.setattr(cross_fitting, "train_joint", spy)
    settings = ContentSettings(
        projection_width=4,
        experts=2,
        expert_width=4,
        tower_width=4,
        iterations=2,
        batch_size=8,
        min_tag_videos=1,
        train_encoders=False,
    )
    tag = rng.normal(size=(videos, 3)).astype(np.float32)
    folds = cross_fitted_folds(
        encodings, (names, names, names), tag, np.ones(videos, bool), contents, settings, seed=1
    )
    for number, result in enumerate(folds):
        assert np.array_equal(result.tag, tag[halves == number])
        assert np.array_equal(trained_rows[number], encodings[0][halves != number])
        assert result.joint.shape == ((halves == number).sum(), 8)
    assert all(halves[i] == halves[i + 1] for i in range(0, videos, 2))
    assert (
        len(
            cross_fitted_folds(
                encodings,
                (names, names, names),
                tag,
                np.ones(videos, bool),
                ["same"] * videos,
                settings,
                seed=1,
            )
        )
        == 0
    )


@pytest.mark.parametrize(("noise", "expected"), [(0.001, 2**0.5), (0.2, 1)])
def test_another_optimum_is_taken_only_beyond_its_interval(monkeypatch, noise, expected):
    """A parabola whose top lies at half a doubling, on half-samples that scatter little or much."""
    curve = 0.4 - 0.02 * (np.log2(RATIOS) - 0.5) ** 2
    halves = curve + noise * np.random.default_rng(0).normal(size=(30, len(RATIOS)))
    monkeypatch.setattr(calibration, "_scores", lambda *args: (curve, halves))
    folds = [fold(s, tag_noise=0.2) for s in (0, 10)]
    result = calibrate_space(folds, NO_MEAN, seed=1)
    assert result.space.tag_weight == pytest.approx(expected)
    assert ("within its interval" in result.reason) == (expected == 1)
