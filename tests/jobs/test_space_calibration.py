"""Which space a training takes: as set, as calibrated on videos that train, as fine-tuned."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vidtopics.jobs import space_calibration
from vidtopics.jobs.space_calibration import learn_calibration
from vidtopics.jobs.topic_blocks import TagBlocks
from vidtopics.settings import parse

VIDEOS = 40


def settings(**topics):
    content = {"train_encoders": False, "projection_width": 4}
    return parse({"content": content, "topics": topics}, where="test")


@pytest.fixture
def catalogue():
    rng = np.random.default_rng(0)
    tag, image, title = (rng.normal(size=(VIDEOS, 4)).astype(np.float32) for _ in range(3))
    every = np.ones(VIDEOS, bool)
    videos = pa.table(
        {
            "content_hash": [f"c{i}" for i in range(VIDEOS)],
            "primary_classes": [["x"]] * VIDEOS,
            "secondary_classes": [["y"]] * VIDEOS,
        }
    )
    tags = pa.array([["t"]] * VIDEOS, pa.large_list(pa.string()))
    blocks = TagBlocks(tag, every, every)
    return videos, tags, (image, title, every, every), blocks, np.arange(VIDEOS) % 4 > 0


def unit_mean(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)


def test_the_mean_is_that_of_videos_that_train(catalogue):
    *_, blocks, trains = catalogue
    space = learn_calibration(settings(tag_weight=1), *catalogue).space
    np.testing.assert_allclose(space.tag_mean, unit_mean(blocks.tag[trains]), atol=1e-6)
    uncentred = learn_calibration(settings(tag_weight=1, centre_tags=False), *catalogue).space
    assert not uncentred.tag_mean.any()


def test_weights_as_set_are_taken_without_a_training(catalogue, monkeypatch):
    monkeypatch.setattr(space_calibration, "cross_fitted_folds", None)
    result = learn_calibration(settings(tag_weight=0.5, joint_weight=2), *catalogue)
    assert (result.space.tag_weight, result.space.joint_weight) == (0.5, 2)
    assert result.reason == "weights as set: tag block 0.5, joint block 2"


def test_fine_tuned_encoders_leave_no_video_to_calibrate_on(catalogue, monkeypatch):
    monkeypatch.setattr(space_calibration, "cross_fitted_folds", None)
    result = learn_calibration(parse({"topics": {}}, where="test"), *catalogue)
    assert (result.space.tag_weight, result.reason) == (1, space_calibration.FINE_TUNED)


def test_no_held_out_video_takes_part(catalogue, monkeypatch):
    *_, blocks, trains = catalogue
    calls = []

    def folds(encodings, names, tag, has_tag, contents, content_settings, *, seed):
        calls.append((encodings[0], tag, contents))
        return []

    monkeypatch.setattr(space_calibration, "cross_fitted_folds", folds)
    result = learn_calibration(settings(), *catalogue)
    [(image, tag, contents)] = calls
    assert np.array_equal(image, catalogue[2][0][trains])
    assert np.array_equal(tag, blocks.tag[trains])
    assert contents == [f"c{i}" for i in np.flatnonzero(trains)]
    assert result.reason.startswith("equal weights: 0 videos with classes")


def test_a_large_catalogue_is_sampled(catalogue, monkeypatch):
    sizes = []
    monkeypatch.setattr(space_calibration, "MOST_TRAINING_VIDEOS", 10)
    monkeypatch.setattr(
        space_calibration,
        "cross_fitted_folds",
        lambda e, n, tag, *r, **k: sizes.append(len(tag)) or [],
    )
    learn_calibration(settings(), *catalogue)
    assert sizes == [10]
