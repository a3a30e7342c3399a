"""Table I on a catalogue that lacks a part: what is compared, and what is left out and why."""

from __future__ import annotations

import numpy as np
import pytest

from vidtopics.errors import TableError
from vidtopics.evaluate.representations import clusterable_features, comparable_levels

ONE_CLASS, TWO_CLASSES = np.zeros(4, np.int64), np.array([0, 1, 0, 1])


def test_a_level_of_one_class_is_left_out() -> None:
    levels, reasons = comparable_levels({"primary": ONE_CLASS, "secondary": TWO_CLASSES})
    assert list(levels) == ["secondary"]
    assert reasons == ["primary: all videos are of one class"]
    assert comparable_levels({"primary": TWO_CLASSES})[1] == []


def test_without_two_classes_of_any_level_nothing_can_be_compared() -> None:
    with pytest.raises(TableError, match="at least 2 classes of one level, found 1 primary, 1 sec"):
        comparable_levels({"primary": ONE_CLASS, "secondary": ONE_CLASS})


def test_features_that_too_few_videos_have_are_left_out() -> None:
    title = np.eye(4, dtype=np.float32)
    image = title * np.array([[1], [0], [0], [0]], np.float32)  # one cover
    features, reasons = clusterable_features({"image": image, "title": title}, clusters=2)
    assert list(features) == ["title"]
    assert reasons == ["image: 1 held-out videos have a vector, 2 clusters need as many"]
    assert list(clusterable_features({"image": image, "title": title}, 1)[0]) == ["image", "title"]


def test_without_any_feature_nothing_can_be_clustered() -> None:
    with pytest.raises(TableError, match="expected 2 or more with a vector, found 0 of image"):
        clusterable_features({"image": np.zeros((4, 2), np.float32)}, clusters=2)
