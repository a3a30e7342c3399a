"""a = [tag, joint]: blocks that weigh alike, a mean that is subtracted, blocks that are missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.topics import space as space_module
from producers.topics.space import TopicSpace, mean_tag_block
from vidtopics.errors import ContractError

YES, NO = np.array([True]), np.array([False])
PLAIN = TopicSpace(np.zeros(2, np.float32))


def rows(*values):
    return np.array([values], np.float32)


def space(width=2, **weights):
    return TopicSpace(np.zeros(width, np.float32), **weights)


def test_by_hand():
    # tag (3, 4) -> (.6, .8); joint (0, 2) -> (0, 1); weights 1 and 2: length sqrt(1 + 4)
    a = space(joint_weight=2).represent(rows(3, 4), rows(0, 2), YES, YES)
    assert np.allclose(a, np.array([[0.6, 0.8, 0, 2]]) / np.sqrt(5), atol=1e-7)
    assert a.dtype == np.float32


def test_the_mean_is_subtracted_from_unit_blocks_by_hand():
    # (3, 4) -> (.6, .8), less (0, .8) -> (.6, 0) -> (1, 0); then half of the squared length each
    centred = TopicSpace(np.array([0, 0.8], np.float32))
    a = centred.represent(rows(3, 4), rows(0, 2), YES, YES)
    assert np.allclose(a, np.array([[1, 0, 0, 1]]) / np.sqrt(2), atol=1e-6)


def test_a_tag_block_at_the_mean_says_nothing_and_the_joint_block_fills_the_length():
    centred = TopicSpace(np.array([0.6, 0.8], np.float32))
    assert np.allclose(centred.represent(rows(3, 4), rows(0, 2), YES, YES), [[0, 0, 0, 1]])


def test_the_mean_is_that_of_directions_of_videos_with_tags():
    tag = np.array([[10, 0], [0, 1], [0, 1], [9, 9]], np.float32)
    mean = mean_tag_block(tag, np.array([True, True, True, False]))
    assert np.allclose(mean, [1 / 3, 2 / 3])
    assert not mean_tag_block(tag, np.zeros(4, bool)).any()


def test_videos_with_one_and_the_same_tag_keep_their_blocks():
    """Less their mean only rounding would be left, and a video without a cover would vanish."""
    tag = np.repeat(np.array([[0.3, 0.7]], np.float32), 50, axis=0)
    has = np.ones(50, bool)
    same = TopicSpace(mean_tag_block(tag, has))
    a = same.represent(tag, np.zeros((50, 2), np.float32), has, ~has)
    assert np.allclose(np.linalg.norm(a, axis=1), 1)


@pytest.mark.parametrize(
    ("has_tag", "has_joint", "expected"),
    [(YES, NO, [0.6, 0.8, 0, 0]), (NO, YES, [0, 0, 0, 1]), (NO, NO, [0, 0, 0, 0])],
)
def test_a_missing_block_is_zero_whatever_it_holds(has_tag, has_joint, expected):
    a = space(joint_weight=5).represent(rows(3, 4), rows(0, 2), has_tag, has_joint)
    assert np.allclose(a, [expected])
    centred = TopicSpace(np.array([0.5, 0], np.float32))
    if not has_tag[0]:  # a missing block is no vector that a mean could be subtracted from
        assert np.allclose(centred.represent(rows(3, 4), rows(0, 2), has_tag, has_joint), a)


def test_a_block_without_weight_is_missing():
    assert not space(tag_weight=0).represent(rows(3, 4), rows(0, 2), YES, NO).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(0.1, 10))
def test_length_one_scale_free_and_cosine_is_the_weighted_mean(seed, w, scale):
    rng = np.random.default_rng(seed)
    tag, joint = (rng.normal(size=(9, n)).astype(np.float32) for n in (3, 5))
    every = np.ones(9, bool)
    centred = TopicSpace(mean_tag_block(tag, every), tag_weight=w)
    a = centred.represent(tag, joint, every, every).astype(float)
    scaled = centred.represent((tag * scale).astype(np.float32), joint, every, every)
    assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    assert np.allclose(scaled, a, atol=1e-4)
    t, j = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (tag, joint))
    t = t - t.mean(axis=0)
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    assert np.allclose(a @ a.T, (w**2 * t @ t.T + j @ j.T) / (w**2 + 1), atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(1, 20))
def test_batches_change_no_byte(seed, cut, chunk):
    rng = np.random.default_rng(seed)
    tag, joint = (rng.normal(size=(20, n)).astype(np.float32) for n in (17, 33))
    has_tag, has_joint = rng.random((2, 20)) < 0.7
    centred = TopicSpace(mean_tag_block(tag, has_tag))
    whole = centred.represent(tag, joint, has_tag, has_joint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_module, "CHUNK_ROWS", chunk)
        parts = [
            centred.represent(tag[s], joint[s], has_tag[s], has_joint[s])
            for s in (slice(cut), slice(cut, None))
        ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.parametrize("wrong", [rows(0, 0), rows(np.nan, 1), rows(np.inf, 1)])
def test_a_block_whose_flag_is_set_must_be_there(wrong):
    with pytest.raises(ContractError, match="joint block, row 0: expected a finite vector"):
        PLAIN.represent(rows(1, 0), wrong, YES, YES)
    assert PLAIN.represent(rows(1, 0), wrong, YES, NO).tolist() == [[1, 0, 0, 0]]


def test_a_wrong_row_is_named_by_its_number(monkeypatch):
    monkeypatch.setattr(space_module, "CHUNK_ROWS", 2)
    tag = np.array([[1, 0], [1, 0], [1, 0], [0, 0]], np.float32)
    with pytest.raises(ContractError, match="tag block, row 3"):
        PLAIN.represent(tag, tag, np.ones(4, bool), np.zeros(4, bool))


@pytest.mark.parametrize(("tag_weight", "joint_weight"), [(3e300, 4e300), (3e-300, 4e-300)])
def test_only_the_ratio_of_the_weights_counts(tag_weight, joint_weight):
    """3 : 4 is 0.6 and 0.8 at length 1; squares of 1e300 overflowed to a zero vector."""
    one = np.ones((1, 1), np.float32)
    row = space(1, tag_weight=tag_weight, joint_weight=joint_weight).represent(one, one, YES, YES)
    np.testing.assert_allclose(row, [[0.6, 0.8]], rtol=1e-6)
