"""Targets against a plain oracle, and the stability of who never trains."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from producers.content.dataset import holdout, make_targets, multi_hot, vocabulary

NAMES = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5), max_size=12)


@given(names=NAMES, min_videos=st.integers(1, 3))
def test_vocabulary_orders_by_videos_then_name(names, min_videos):
    videos = {name: sum(name in of_video for of_video in names) for name in "abcdefg"}
    expected = sorted((n for n in videos if videos[n] >= min_videos), key=lambda n: (-videos[n], n))
    assert vocabulary(names, min_videos=min_videos) == tuple(expected)


@given(names=NAMES, known=st.lists(st.sampled_from("abcdefg"), unique=True))
def test_multi_hot_equals_asking_for_each_cell(names, known):
    expected = [[float(name in of_video) for name in known] for of_video in names]
    assert multi_hot(names, known).toarray().tolist() == expected


def test_tags_below_the_threshold_or_past_the_limit_are_no_classes():
    """x on 3 videos, y and z on 2, w on 1: at least 2 leaves x, y, z; at most 2 leaves x, y."""
    tags = [["x", "y", "w", "w"], ["z", "x"], ["y", "z", "x"], []]
    none = [[]] * 4
    targets = make_targets(none, none, tags, min_tag_videos=2, max_tags=2)
    assert targets.classes == ((), (), ("x", "y"))
    assert targets.labels[2].toarray().tolist() == [[1, 1], [1, 0], [1, 1], [0, 0]]
    assert targets.labels[0].shape == (4, 0)


def test_golden_holdout():
    """These ids have left training for good; another hash would let held-out labels in."""
    ids = [str(i) for i in range(100)]
    assert np.flatnonzero(holdout(ids, 0.1)).tolist() == [0, 14, 24, 49, 54, 77, 85, 99]


@given(ids=st.lists(st.text(min_size=1), unique=True), share=st.floats(0, 1), more=st.floats(0, 1))
def test_holdout_depends_on_the_id_alone_and_grows_with_the_share(ids, share, more):
    together = holdout(ids, share)
    assert together.tolist() == [bool(holdout([video], share)[0]) for video in ids]
    low, high = sorted((share, more))
    assert (holdout(ids, low) <= holdout(ids, high)).all()


def test_holdout_at_its_ends():
    ids = [f"v{i}" for i in range(1000)]
    assert not holdout(ids, 0.0).any()
    assert holdout(ids, 1.0).all()
