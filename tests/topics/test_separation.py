"""Figures that tell classes apart whatever the dimension, by hand and on planted clouds."""

import numpy as np
import pytest

from producers.topics.separation import (
    class_separation,
    intrinsic_dimension,
    matched_dimensions,
    probe_accuracy,
)
from producers.unit_length import to_unit_length

RNG = np.random.default_rng(0)


def cloud(dimensions, videos=2_000):
    return RNG.normal(size=(videos, dimensions)).astype(np.float32)


def test_the_participation_ratio_counts_dimensions_that_are_filled():
    assert intrinsic_dimension(cloud(9)) == pytest.approx(9, abs=0.2)
    padded = np.pad(cloud(3), ((0, 0), (0, 40)))
    assert intrinsic_dimension(padded) == pytest.approx(3, abs=0.1)


def test_zero_vectors_fill_no_dimension():
    x = cloud(5)
    assert intrinsic_dimension(np.vstack([x, np.zeros_like(x)])) == intrinsic_dimension(x)


def test_matched_representations_have_one_width_and_keep_what_varies_most():
    flat = np.pad(cloud(4), ((0, 0), (3, 3)))
    dimensions, matched = matched_dimensions({"flat": flat, "wide": cloud(20)})
    assert dimensions == 4
    assert {x.shape for x in matched.values()} == {(2_000, 4)}
    centred = to_unit_length(flat - flat.mean(axis=0))
    kept = matched["flat"].astype(float)
    np.testing.assert_allclose(kept @ kept.T, centred @ centred.T, atol=1e-5)


def test_zero_rows_stay_zero_rows():
    x = np.vstack([cloud(4, 50), np.zeros((1, 4), np.float32)])
    assert not matched_dimensions({"x": x})[1]["x"][-1].any()


def test_separation_follows_the_classes_and_not_the_dimension():
    classes = np.repeat(np.arange(4), 100)
    centres = 3 * RNG.normal(size=(4, 10))
    noise = RNG.normal(size=(400, 10))
    near, far = ((s * centres[classes] + noise).astype(np.float32) for s in (0.3, 1.0))
    near, far = class_separation(near, classes), class_separation(far, classes)
    assert near["silhouette"] < far["silhouette"]
    assert near["davies_bouldin"] > far["davies_bouldin"]
    assert near["neighbours"] < far["neighbours"]


def test_a_class_of_one_video_and_a_zero_vector_are_left_out():
    classes = np.array([0, 0, 1, 1, 2, 1])
    x = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 1], [0, 0]], np.float32)
    assert class_separation(x, classes) == class_separation(x[:4], classes[:4])


def test_a_probe_learns_from_the_videos_it_may_see_alone():
    classes = np.repeat(np.arange(3), 60)
    x = (np.eye(3)[classes] + 0.1 * RNG.normal(size=(180, 3))).astype(np.float32)
    train = np.arange(180) % 2 == 0
    assert probe_accuracy(x, classes, train) == 1
    assert probe_accuracy(x, np.where(train, (classes + 1) % 3, classes), train) == 0
