"""Table I and Fig. 3 on data whose order is known."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from producers.topics.evaluation import distance_ratios, representation_scores
from producers.topics.kmeans import spherical_kmeans
from vidtopics.errors import ContractError, TableError


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


RNG = np.random.default_rng(0)
PRIMARY = np.repeat(np.arange(4), 60)
SECONDARY = PRIMARY * 3 + np.tile(np.arange(3), 80)
SIGNAL = RNG.normal(size=(12, 8))[SECONDARY] + 2 * RNG.normal(size=(4, 8))[PRIMARY]
NOISE = RNG.normal(size=(3, 240, 8))
FEATURES = {
    name: unit(SIGNAL + s * noise)
    for name, s, noise in zip(("weak", "twin", "strong"), (6, 6, 1), NOISE, strict=True)
}
CLASSES = {"primary": PRIMARY, "secondary": SECONDARY}
K = {level: len(np.unique(truth)) for level, truth in CLASSES.items()}


@pytest.fixture(scope="module")
def table():
    return representation_scores([FEATURES] * 2, CLASSES, clusters=K, clusterings=2, seed=3)


def test_scores_are_means_over_seeds_with_a_t_interval_over_trainings(table):
    assert len(table.scores) == 3 * 2 * 2
    runs = [
        adjusted_rand_score(
            SECONDARY, spherical_kmeans(FEATURES["strong"], 12, iterations=100, seed=s).labels
        )
        for s in (3, 4, 5, 6)
    ]
    mean, low, high = table.scores["strong", "secondary", "ari"]
    assert mean == pytest.approx(np.mean(runs))
    trainings = np.mean([runs[:2], runs[2:]], axis=1)
    error = np.std(trainings, ddof=1) / np.sqrt(2)
    assert high - low == pytest.approx(2 * 12.7062 * error, rel=1e-4)  # t, 97.5%, 1 degree


def test_trainings_that_differ_widen_the_interval():
    """A step that one training takes and another doesn't is no finding."""
    worse = FEATURES | {"strong": FEATURES["weak"]}
    one, two = (
        representation_scores(
            trainings, {"primary": PRIMARY}, clusters=K, clusterings=2, seed=3
        ).differences["weak", "strong", "primary", "nmi"]
        for trainings in ([FEATURES] * 3, [FEATURES, FEATURES, worse])
    )
    assert one.low > 0
    assert two.mean > 0 > two.low


@pytest.mark.parametrize("level", ["primary", "secondary"])
@pytest.mark.parametrize("metric", ["ari", "nmi"])
def test_a_real_difference_is_found_and_none_is_not(table, level, metric):
    assert table.differences["weak", "strong", level, metric].low > 0
    none = table.differences["weak", "twin", level, metric]
    assert none.low < 0 < none.high
    better, worse = (table.scores[name, level, metric].mean for name in ("strong", "weak"))
    assert table.differences["weak", "strong", level, metric].mean == pytest.approx(better - worse)


@pytest.mark.slow
def test_half_samples_spread_as_fresh_samples_do():
    """The interval's width against the truth: scores of 40 draws of 200 videos from one world."""
    values, widths = [], []
    for draw in range(40):
        rng = np.random.default_rng(draw)
        truth = rng.integers(0, 2, 200)
        centres = np.array([[1.0, 0.0], [0.0, 1.0]])[truth]
        features = {
            "none": unit(rng.normal(size=(200, 2))),
            "some": unit(centres + 0.6 * rng.normal(size=(200, 2))),
        }
        table_of_scores = representation_scores(
            [features] * 2,
            {"primary": truth},
            clusters={"primary": len(np.unique(truth))},
            clusterings=1,
            seed=0,
        )
        mean, low, high = table_of_scores.differences["none", "some", "primary", "ari"]
        values.append(mean)
        widths.append((high - low) / 2 / 1.96)
    assert 0.6 < np.mean(widths) / np.std(values, ddof=1) < 1.6


def test_same_seed_same_table():
    one, two, other = (
        representation_scores(
            [FEATURES] * 2, {"primary": PRIMARY}, clusters=K, clusterings=1, seed=s
        ).scores
        for s in (3, 3, 4)
    )
    assert one == two != other


def test_zero_vectors_are_one_more_cluster():
    half = np.where(np.arange(240)[:, None] % 2, FEATURES["strong"], 0).astype(np.float32)
    table_of_scores = representation_scores(
        [{"half": half, "whole": FEATURES["strong"]}] * 2,
        {"primary": PRIMARY},
        clusters=K,
        clusterings=2,
        seed=0,
    )
    assert (
        table_of_scores.scores["half", "primary", "ari"].mean
        < table_of_scores.scores["whole", "primary", "ari"].mean
    )


def test_distance_ratio_by_hand_and_in_order():
    # Two pairs: each point lies at angle t from its centre, the centres are opposite: 2 / (2 sin(t
    # / 2))
    t = 0.3
    points = np.array([[np.cos(x), np.sin(x)] for x in (t, -t, np.pi + t, np.pi - t)], np.float32)
    assert distance_ratios(points, 2, clusterings=3, seed=0) == pytest.approx(
        [1 / np.sin(t / 2)] * 3, rel=1e-4
    )
    weak, strong = (
        distance_ratios(FEATURES[n], 12, clusterings=4, seed=0) for n in ("weak", "strong")
    )
    assert strong.min() > weak.max()
    zeros = np.concatenate([points, np.zeros((5, 2), np.float32)])
    assert distance_ratios(zeros, 2, clusterings=1, seed=0) == pytest.approx(
        [1 / np.sin(t / 2)], rel=1e-4
    )


def test_other_videos_are_named():
    with pytest.raises(ContractError, match="weak: 240, primary: 239"):
        representation_scores(
            [{"weak": FEATURES["weak"]}] * 2,
            {"primary": PRIMARY[1:]},
            clusters=K,
            clusterings=2,
            seed=0,
        )


@pytest.mark.parametrize("classes", [[0] * 4, []])
def test_one_class_is_refused(classes):
    """Any clustering agrees with a single class: ARI and NMI would be 1."""
    points = np.eye(4, dtype=np.float32)[: len(classes)]
    with pytest.raises(TableError, match="Table I, primary classes: expected at least 2 classes"):
        representation_scores(
            [{"x": points}] * 2,
            {"primary": np.array(classes)},
            clusters=K,
            clusterings=2,
            seed=0,
        )


@pytest.mark.parametrize("vector", [(1.0, 0.0, 0.0), (0.6, -0.64, 0.48)])
def test_equal_videos_have_no_distance_ratio(vector):
    """0 / 0 was NaN, which is no JSON."""
    with pytest.raises(TableError, match=r"Fig\. 3: expected videos that differ"):
        distance_ratios(np.array([vector] * 9, np.float32), 2, clusterings=2, seed=0)
