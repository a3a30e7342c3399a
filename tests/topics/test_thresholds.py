"""A threshold for each pattern of blocks: by hand, and the shares that it promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.topics.assignment import assign
from producers.topics.thresholds import Thresholds, calibrate_thresholds, follow_catalogue
from producers.unit_length import to_unit_length
from vidtopics.errors import SettingsError

TAG, WIDTH = 3, 7


def unit(x):
    return to_unit_length(np.asarray(x)).astype(np.float32)


def catalogue(seed, videos=600, tagged=0.6, topics=30):
    """Videos around planted centres; some lack their tags, some their content."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(topics, WIDTH)))
    rows = centres[rng.integers(0, topics, videos)] + 0.15 * rng.normal(size=(videos, WIDTH))
    has_tag = rng.random(videos) < tagged
    has_joint = ~has_tag | (rng.random(videos) < 0.7)
    rows[~has_tag, :TAG] = 0
    rows[~has_joint, TAG:] = 0
    return unit(rows), has_tag, has_joint, centres


def test_a_pattern_takes_its_own_threshold():
    thresholds = Thresholds(whole=0.6, tag_alone=0.5, joint_alone=0.4)
    a = unit([[1, 0.5], [1, 0.5], [1, 0.5]])  # cosines .894 and .447
    assignment = assign(
        a,
        np.eye(2, dtype=np.float32),
        np.array([1, 2]),
        thresholds.of_rows(np.array([True, True, False]), np.array([True, False, True])),
    )
    assert assignment.topic_count.tolist() == [1, 1, 2]


def test_by_hand():
    """Nearest .8, .7, .6, .5 and second .5, .4, .3, .2: 2 of 4, from .5 to .4."""
    nearest, second = np.array([0.8, 0.7, 0.6, 0.5]), np.array([0.5, 0.4, 0.3, 0.2])
    rows = np.stack([nearest, second, np.sqrt(1 - nearest**2 - second**2)], axis=1)
    a, centroids, every = rows.astype(np.float32), np.eye(3, dtype=np.float32)[:2], np.ones(4, bool)
    thresholds = calibrate_thresholds(a, every, every, centroids, 1.25, tag_width=1)
    assert thresholds.whole == pytest.approx(0.45)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2.0, 4.0]))
def test_each_pattern_meets_the_target_or_its_share_without_a_topic(seed, target):
    a, has_tag, has_joint, centres = catalogue(seed)
    thresholds = calibrate_thresholds(a, has_tag, has_joint, centres, target, tag_width=TAG)
    given_topics = assign(
        a, centres, np.arange(len(centres)), thresholds.of_rows(has_tag, has_joint)
    )
    for pattern, limit in (
        (has_tag & has_joint, 0.10),
        (has_tag & ~has_joint, 0.10),
        (~has_tag & has_joint, 0.15),
    ):
        rows = np.flatnonzero(pattern)
        if len(rows) < 100:
            continue
        below, mean = (
            given_topics.below_threshold[rows].mean(),
            given_topics.topic_count[rows].mean(),
        )
        assert below <= limit
        at_limit = below > limit - 2 / len(rows)
        assert abs(mean - target) <= 1 / len(rows) or (mean > target and at_limit)


def test_a_pattern_that_no_video_has_is_calibrated_on_whole_videos_without_that_block():
    a, _, _, centres = catalogue(3, tagged=1.1)
    every = np.ones(len(a), bool)
    a = unit(np.abs(a) + 0.01)  # whole
    thresholds = calibrate_thresholds(a, every, every, centres, 3, tag_width=TAG)
    without_tags = a.copy()
    without_tags[:, :TAG] = 0
    alone = calibrate_thresholds(unit(without_tags), ~every, every, centres, 3, tag_width=TAG)
    assert thresholds.joint_alone == pytest.approx(alone.joint_alone)


def test_zero_rows_say_nothing():
    a, has_tag, has_joint, centres = catalogue(4)
    zeros = np.insert(a, [0, 300], 0, axis=0)
    flags = [np.insert(flag, [0, 300], False) for flag in (has_tag, has_joint)]
    assert calibrate_thresholds(zeros, *flags, centres, 4, tag_width=TAG) == calibrate_thresholds(
        a, has_tag, has_joint, centres, 4, tag_width=TAG
    )


@pytest.mark.parametrize("target", [0.5, 4])
def test_a_target_out_of_reach_is_named(target):
    a, every = unit(np.ones((5, 3))), np.ones(5, bool)
    with pytest.raises(SettingsError, match=r"target_topics: expected 1 to 3.*found"):
        calibrate_thresholds(a, every, every, np.eye(3, dtype=np.float32), target, tag_width=1)


def test_no_cosine_lies_on_a_threshold():
    """Its rounding would decide whether the video has the topic, in another batch otherwise."""
    a, has_tag, has_joint, centres = catalogue(7, videos=800)
    thresholds = calibrate_thresholds(a, has_tag, has_joint, centres, 4, tag_width=TAG)
    cosines = a.astype(float) @ centres.T.astype(float)
    gap = np.abs(cosines - thresholds.of_rows(has_tag, has_joint)[:, None]).min()
    assert gap > 1e-6


def aged(seed, before, keep_set):
    """Thresholds that follow a catalogue, and each video's sets before and after as plain sets."""
    a, has_tag, has_joint, centres = catalogue(seed)
    known = np.random.default_rng(seed).random(len(a)) < 0.5
    after = follow_catalogue(
        before,
        a,
        has_tag,
        has_joint,
        centres,
        4,
        known=known,
        keep_set=keep_set,
        tag_width=TAG,
    )
    sets = [
        [set(row) for row in assign(a, centres, np.arange(30), of_rows).topic_ids]
        for of_rows in (t.of_rows(has_tag, has_joint) for t in (before, after))
    ]
    return after, known, np.array([x == y for x, y in zip(*sets, strict=True)])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.8, 0.95]), st.floats(-0.2, 0.9))
def test_thresholds_follow_as_far_as_sets_may(seed, keep_set, start):
    """And no further: with twice the step too many sets would change, or it is the whole way."""
    before = Thresholds(start, start, start)
    after, known, stays = aged(seed, before, keep_set)
    assert stays[known].mean() >= keep_set
    whole, _, _ = aged(seed, before, 0.0)
    share = (after.whole - start) / ((whole.whole - start) or 1)
    if 0 < share < 0.99:
        step = [start + 2 * (x - start) for x in vars(after).values()]
        a, has_tag, has_joint, centres = catalogue(seed)
        further = [
            assign(a, centres, np.arange(30), t.of_rows(has_tag, has_joint)).topic_ids
            for t in (before, Thresholds(*step))
        ]
        assert (further[0] == further[1]).all(axis=1)[known].mean() < keep_set


def test_thresholds_that_serve_stay_and_others_come_within_their_limits():
    """In a few trainings, each within its budget; not one more once they serve."""
    a, has_tag, has_joint, centres = catalogue(3)
    thresholds = [Thresholds(0.9, 0.9, 0.9)]
    for _ in range(30):
        thresholds.append(aged(3, thresholds[-1], 0.85)[0])
    assert thresholds[1] != thresholds[0]
    assert thresholds[-1] == thresholds[-2]
    now = assign(a, centres, np.arange(30), thresholds[-1].of_rows(has_tag, has_joint))
    assert 3.5 <= now.topic_count.mean() <= 4.5
    assert now.below_threshold[has_tag].mean() <= 0.10
    assert now.below_threshold[~has_tag].mean() <= 0.15
