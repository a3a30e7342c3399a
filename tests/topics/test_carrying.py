"""Topics follow their videos into a space whose axes mean something else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from producers.topics.carrying import carry_topics
from producers.topics.evolution import Topics
from producers.unit_length import to_unit_length

NONE = np.empty(0, np.int64)


def unit(x):
    return to_unit_length(np.asarray(x, float)).astype(np.float32)


def topics_at(ids, width):
    """Topics as a training left them; where their centres were doesn't matter."""
    k = len(ids)
    return Topics(
        np.array(ids),
        unit(np.ones((k, width))),
        np.ones(k, np.int64),
        np.zeros(k, np.float32),
        np.arange(k),
        NONE,
        NONE,
        next_id=max(ids) + 1,
        epoch=3,
        training=2,
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_centres_are_means_of_their_videos_wherever_those_lie(seed, width):
    """By a plain loop; videos that are new or zero, and IDs that no topic has, count for nothing"""
    rng = np.random.default_rng(seed)
    ids = [2, 3, 7, 9]
    first = rng.choice([-1, 1, 2, 3, 7, 8, 9, 12], 40)
    a = unit(rng.normal(size=(40, width)) + 2)
    a[rng.random(40) < 0.1] = 0
    carried = carry_topics(topics_at(ids, 5), a, first)
    members = {i: a[(first == i) & a.any(axis=1)].astype(float) for i in ids}
    live = [i for i in ids if len(members[i])]
    assert carried.topic_ids.tolist() == live
    assert carried.sizes.tolist() == [len(members[i]) for i in live]
    assert carried.split_from.tolist() == [ids.index(i) for i in live]
    for i, centre, cohesion in zip(live, carried.centroids, carried.cohesion, strict=True):
        mean = members[i].mean(axis=0)
        np.testing.assert_allclose(centre, mean / np.linalg.norm(mean), atol=1e-5)
        np.testing.assert_allclose(cohesion, (members[i] @ centre).mean(), atol=1e-5)
    assert (carried.next_id, carried.epoch, carried.training) == (10, 3, 2)


def test_nothing_is_carried_where_no_video_is_left():
    a = unit(np.eye(3))
    assert carry_topics(topics_at([4], 3), a, np.array([-1, 3, 5])) is None
    assert carry_topics(topics_at([4], 3), 0 * a, np.array([4, 4, 4])) is None
    assert carry_topics(topics_at([4], 3), np.stack([a[0], -a[0]]), np.array([4, 4])) is None
