"""a = [tag, joint]: blocks that weigh alike, and blocks that are missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.topics.representation import topic_representation
from vidtopics.errors import ContractError

YES, NO = np.array([True]), np.array([False])


def rows(*values):
    return np.array([values], np.float32)


def test_by_hand():
    # tag (3, 4) -> (.6, .8); joint (0, 2) -> (0, 1); weights 1 and 2: length sqrt(1 + 4)
    representation = topic_representation(
        rows(3, 4), rows(0, 2), has_tag=YES, has_joint=YES, tag_weight=1, joint_weight=2
    )
    assert np.allclose(representation.a, np.array([[0.6, 0.8, 0, 2]]) / np.sqrt(5), atol=1e-7)
    assert representation.a.dtype == np.float32
    assert representation.present.tolist() == [True]


@pytest.mark.parametrize(
    ("has_tag", "has_joint", "expected"),
    [(YES, NO, [0.6, 0.8, 0, 0]), (NO, YES, [0, 0, 0, 1]), (NO, NO, [0, 0, 0, 0])],
)
def test_a_missing_block_is_zero_whatever_it_holds(has_tag, has_joint, expected):
    representation = topic_representation(
        rows(3, 4), rows(0, 2), has_tag=has_tag, has_joint=has_joint, joint_weight=5
    )
    assert np.allclose(representation.a, [expected])
    assert representation.present.tolist() == [any(expected)]


def test_a_block_without_weight_is_missing():
    representation = topic_representation(
        rows(3, 4), rows(0, 2), has_tag=YES, has_joint=NO, tag_weight=0
    )
    assert not representation.present[0]
    assert not representation.a.any()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(0.1, 10))
def test_length_one_scale_free_and_cosine_is_the_weighted_mean(seed, w, scale):
    rng = np.random.default_rng(seed)
    tag, joint = (
        rng.normal(size=(9, 3)).astype(np.float32),
        rng.normal(size=(9, 5)).astype(np.float32),
    )
    every = np.ones(9, bool)
    a = topic_representation(tag, joint, has_tag=every, has_joint=every, tag_weight=w).a.astype(
        float
    )
    scaled = topic_representation(
        (tag * scale).astype(np.float32), joint, has_tag=every, has_joint=every, tag_weight=w
    )
    assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    assert np.allclose(scaled.a, a, atol=1e-5)
    t, j = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (tag, joint))
    assert np.allclose(a @ a.T, (w**2 * t @ t.T + j @ j.T) / (w**2 + 1), atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20))
def test_batches_change_no_byte(seed, cut):
    rng = np.random.default_rng(seed)
    tag, joint = (
        rng.normal(size=(20, 17)).astype(np.float32),
        rng.normal(size=(20, 33)).astype(np.float32),
    )
    has_tag, has_joint = rng.random((2, 20)) < 0.7
    whole = topic_representation(tag, joint, has_tag=has_tag, has_joint=has_joint).a
    parts = [
        topic_representation(tag[s], joint[s], has_tag=has_tag[s], has_joint=has_joint[s]).a
        for s in (slice(cut), slice(cut, None))
    ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("wrong", [rows(0, 0), rows(np.nan, 1), rows(np.inf, 1)])
def test_a_block_that_is_said_to_be_there_must_be(wrong):
    with pytest.raises(ContractError, match="joint block, row 0: expected a finite vector"):
        topic_representation(rows(1, 0), wrong, has_tag=YES, has_joint=YES)
    assert topic_representation(rows(1, 0), wrong, has_tag=YES, has_joint=NO).a.tolist() == [
        [1, 0, 0, 0]
    ]


@pytest.mark.parametrize(("tag_weight", "joint_weight"), [(3e300, 4e300), (3e-300, 4e-300)])
def test_only_the_ratio_of_the_weights_counts(tag_weight, joint_weight):
    """3 : 4 is 0.6 and 0.8 at length 1; squares of 1e300 overflowed to a zero vector."""
    one = np.ones((1, 1), np.float32)
    has = np.array([True])
    row = topic_representation(
        one, one, has_tag=has, has_joint=has, tag_weight=tag_weight, joint_weight=joint_weight
    ).a
    np.testing.assert_allclose(row, [[0.6, 0.8]], rtol=1e-6)
