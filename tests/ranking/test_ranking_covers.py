"""Cover features: principal components that only training videos decide."""

import numpy as np
import pyarrow as pa
from sklearn.decomposition import PCA

from consumers.ranking.covers import Encodings, project
from consumers.training import ViewRows


def test_components_are_those_of_scikit_learn_up_to_their_sign():
    r = np.random.default_rng(0)
    image = r.normal(size=(300, 150)).astype(np.float32) * np.linspace(3, 1, 150)
    every = np.ones(300, bool)
    fitted = np.arange(300) < 250
    got = project(image.astype(np.float32), every, fitted)
    expected = PCA(128, svd_solver="full").fit(image[fitted]).transform(image)
    assert np.allclose(abs(got), abs(expected), atol=1e-2)


def test_videos_of_test_rows_change_nothing_of_the_others():
    r = np.random.default_rng(0)
    image = r.normal(size=(60, 20)).astype(np.float32)
    every, fitted = np.ones(60, bool), np.arange(60) < 50
    other = image.copy()
    other[50:] += 100
    assert np.array_equal(project(image, every, fitted)[:50], project(other, every, fitted)[:50])
    assert not project(image, every, ~every).any()


def test_a_video_has_the_encoding_of_its_last_content():
    rows = pa.table({"content_hash": ["old", "new", "lost"]})
    times = np.array([1, 2, 1])
    catalogue = ViewRows(pa.table({"video_id": ["a", "a", "b"]}), times, times, rows)
    encodings = Encodings(pa.array(["new", "old"]), np.array([[5, 6], [7, 8]], np.float32))
    image, present = encodings.of_videos(pa.array(["c", "a", "b"]), catalogue)
    assert (image.tolist(), present.tolist()) == ([[0, 0], [5, 6], [0, 0]], [False, True, False])
