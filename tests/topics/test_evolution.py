"""A topic keeps its ID for life, and no ID comes back; births don't wait for deaths."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.topics.assignment import assign
from producers.topics.births import found_topics
from producers.topics.churn import Judge, Kept, slots_of
from producers.topics.clustering import clusters_for
from producers.topics.evolution import Topics, learn_topics
from producers.topics.rows import Rows
from producers.topics.steps import shrunk_means, take_steps
from vidtopics.errors import ContractError, SettingsError, TableError
from vidtopics.settings import TopicSettings

SETTINGS = TopicSettings(clusters=10, restarts=1)
FREE = {"keep_first": 0.0, "keep_set": 0.0, "growth": 1.0}
"""Settings under which nothing holds births and steps back."""


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


CENTRES = unit(np.random.default_rng(0).normal(size=(14, 24)))


def videos(groups, seed, spread=0.08):
    """One video for each entry of `groups`, near to that centre."""
    return unit(
        CENTRES[groups] + spread * np.random.default_rng(seed).normal(size=(len(groups), 24))
    )


def learn(a, previous=None, settings=SETTINGS, **kwargs):
    return learn_topics(a, previous=previous, settings=settings, seed=1, **kwargs)


def slots(topics, a):
    return assign(a, topics.centroids, topics.topic_ids, SETTINGS.threshold).topic_ids


def nearest_id(topics, a):
    return slots(topics, a)[:, 0]


def topics_at(centroids, **fields):
    """Topics 1, 2, ... as a training left them, with these centres."""
    k = len(centroids)
    none = np.empty(0, np.int64)
    before = Topics(
        np.arange(1, k + 1),
        unit(np.array(centroids, float)),
        sizes=np.ones(k, np.int64),
        cohesion=np.zeros(k, np.float32),
        split_from=np.zeros(k, np.int64),
        born=none,
        retired=none,
        next_id=k + 1,
        epoch=1,
        training=1,
    )
    return replace(before, **fields)


def is_same(one, two):
    """Whether two trainings left the same topics, to the byte."""
    names = ("topic_ids", "centroids", "sizes", "cohesion", "split_from")
    arrays = all(getattr(one, name).tobytes() == getattr(two, name).tobytes() for name in names)
    return arrays and (one.next_id, one.epoch, one.training) == (
        two.next_id,
        two.epoch,
        two.training,
    )


TEN = np.repeat(np.arange(10), 30)


def test_ids_stay_with_ten_percent_new_videos():
    old = videos(TEN, 1, spread=0.3)
    first = learn(old)
    last = np.concatenate([slots(first, old), np.full((30, 8), -1)])
    then = learn(np.concatenate([old, videos(TEN[::10], 2, spread=0.3)]), first, last=last)
    assert (nearest_id(first, old) == nearest_id(then, old)).mean() >= 0.98
    assert then.topic_ids.tolist() == first.topic_ids.tolist() == list(range(1, 11))
    assert (len(then.born), len(then.retired), then.epoch, then.next_id) == (0, 0, 1, 11)
    assert (first.sizes.sum(), then.sizes.sum()) == (300, 330)


def test_ids_follow_topics_not_places():
    """The same videos in another order and seed: a cold start would number the topics anew."""
    a = videos(TEN, 1)
    first = learn(a)
    then = learn_topics(a[::-1], previous=first, settings=SETTINGS, seed=99)
    assert np.array_equal(nearest_id(first, a), nearest_id(then, a))
    assert not np.array_equal(
        nearest_id(learn_topics(a[::-1], previous=None, settings=SETTINGS, seed=99), a),
        nearest_id(first, a),
    )


def test_a_dead_topic_is_retired_and_never_comes_back():
    first = learn(videos(TEN, 1))
    gone = int(nearest_id(first, CENTRES[[9]])[0])
    others = np.repeat([*range(9), 10], 30)  # group 9 has ended, group 10 is new
    second = learn(videos(others, 2), first)
    assert second.retired.tolist() == [gone]
    assert second.born.tolist() == [11] == nearest_id(second, CENTRES[[10]]).tolist()
    assert sorted(second.topic_ids.tolist()) == sorted({*range(1, 12)} - {gone})
    back = learn(
        videos(np.repeat([*range(10)], 30), 3), second
    )  # group 9 is back, group 10 has ended
    assert back.retired.tolist() == [11]
    assert back.born.tolist() == [12] == nearest_id(back, CENTRES[[9]]).tolist()


def test_the_greatest_id_is_not_given_again_once_its_topic_has_ended():
    """It ends without a birth; the next birth comes a training later."""
    a = unit(np.eye(4))
    first = topics_at(np.eye(4)[:3])
    ended = learn(a[[0, 0, 1, 1, 1]], first, TopicSettings(clusters=3))
    assert (ended.topic_ids.tolist(), ended.retired.tolist(), ended.next_id) == ([1, 2], [3], 4)
    then = learn(a[[0, 0, 1, 1, 1, 3, 3, 3, 3]], ended, TopicSettings(clusters=3, growth=0.5))
    assert then.born.tolist() == [4]


def test_a_birth_waits_for_no_death():
    first = learn(videos(TEN, 1))
    then = learn(videos(np.concatenate([TEN, [10] * 4, [11] * 3]), 1), first)
    assert then.born.tolist() == [11] == nearest_id(then, CENTRES[[10]]).tolist()
    assert then.topic_ids.tolist() == list(range(1, 12))
    assert then.split_from.tolist() == [0] * 11
    assert then.sizes[-1] == 4  # the three of group 11 are too few for a topic


def test_growth_is_the_most_that_a_training_adds():
    first = learn(videos(TEN, 1))
    grown = np.concatenate([TEN, np.repeat([10, 11, 12], [9, 8, 7])])
    for growth, number in ((0.0, 0), (0.1, 1), (0.2, 2), (0.25, 3), (1.0, 3)):
        then = learn(videos(grown, 1), first, TopicSettings(clusters=10, growth=growth))
        assert len(then.born) == number
        born = nearest_id(then, CENTRES[10 : 10 + number])
        assert set(born) == set(then.born)  # those with most videos first


def test_what_retires_may_be_replaced_without_growth():
    """The fourth topic has lost its videos; four new ones are at cosine .29 to the first."""
    a = unit(np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0.3, 0, 0, 0, 1.0]]))
    before = topics_at(np.eye(5)[:4])
    section = TopicSettings(clusters=4, growth=0)
    topics = learn(a[[0, 1, 2, 3, 3, 3, 3]], before, section)
    assert (topics.retired.tolist(), topics.born.tolist()) == ([4], [5])
    assert learn(a[[0, 1, 2, 3, 3, 3]], before, section).born.tolist() == []
    alive = topics_at(np.eye(5)[:3])
    assert learn(a[[0, 1, 2, 3, 3, 3, 3]], alive, section).born.tolist() == []


HALVES = np.eye(3, dtype=np.float32)[[0] * 6 + [1] * 4 + [2] * 2]
"""Six and four videos about the first of two topics, at cosine .707, and two on the second."""


def split(min_size, **limits):
    """After a training on :data:`HALVES`; ten videos are above 1.2 times the mean of six."""
    section = TopicSettings(clusters=2, min_size=min_size, overfull=1.2, **(FREE | limits))
    before = topics_at([[1, 1, 0], [0, 0, 1]])
    return learn_topics(HALVES, previous=before, settings=section, seed=0)


def test_an_overfull_topic_splits_and_the_larger_part_keeps_the_id():
    topics = split(4)
    assert topics.topic_ids.tolist() == [1, 2, 3]
    assert topics.sizes.tolist() == [6, 2, 4]
    assert topics.split_from.tolist() == [0, 0, 1]
    assert nearest_id(topics, np.eye(3, dtype=np.float32)).tolist() == [1, 3, 2]


def test_a_topic_splits_beside_one_that_has_ended():
    """Rows count the living: topic 1 has no video, topic 2 is overfull, topic 3 has two."""
    axes = np.eye(4, dtype=np.float32)
    a = np.repeat(axes[1:], [6, 4, 2], axis=0)
    before = topics_at([axes[0], axes[1] + axes[2], axes[3]])
    section = TopicSettings(clusters=3, overfull=1.2, **FREE)
    topics = learn_topics(a, previous=before, settings=section, seed=0)
    assert topics.topic_ids.tolist() == [2, 3, 4]
    assert topics.split_from.tolist() == [0, 0, 2]
    assert nearest_id(topics, axes[1:]).tolist() == [2, 4, 3]


@pytest.mark.parametrize("min_size", [5, 6])  # parts of 6 and 4; 10 is below 2 x 6
def test_no_part_of_a_split_is_below_the_minimum_size(min_size):
    assert split(min_size).topic_ids.tolist() == [1, 2]


def test_a_split_that_would_move_too_many_waits():
    """Four of twelve videos would have another first topic: two thirds stay."""
    assert split(4, keep_first=0.66).topic_ids.tolist() == [1, 2, 3]
    assert split(4, keep_first=0.68).topic_ids.tolist() == [1, 2]


def test_a_birth_that_would_move_too_many_stands_in_no_others_way():
    """Of 85 videos the first split would move 16, the second 4; both topics are as loose."""
    axes = np.eye(8, dtype=np.float32)
    a = np.repeat(axes, [20, 16, 5, 4, 10, 10, 10, 10], axis=0)
    before = topics_at([axes[0] + axes[1], axes[2] + axes[3], *axes[4:]])
    section = TopicSettings(clusters=6, loose=0.75, growth=1, keep_first=0.95, keep_set=0.5)
    topics = learn_topics(a, previous=before, settings=section, seed=0)
    assert topics.split_from.tolist() == [0] * 6 + [2]
    assert topics.sizes.tolist() == [36, 5, 10, 10, 10, 10, 4]


def test_a_step_goes_as_far_as_is_allowed_and_is_then_the_last():
    """A judge that allows a centre to turn by 0.02: of a step of about .9, 1/64 and no more."""

    class Narrow:
        def allows(self, topic_ids, centroids):
            return np.linalg.norm(centroids[0] - [1, 0]) <= 0.02

    points = np.tile(unit(np.array([[0.0, 1.0]])), (1000, 1))
    start = np.array([[1, 0]], np.float32)
    section = TopicSettings(clusters=1)
    centre = take_steps(points, np.array([1]), start, section, Narrow(), "cpu")
    expected = start + (shrunk_means(points, np.zeros(1000, int), start) - start) / 64
    np.testing.assert_allclose(centre, unit(expected), atol=1e-6)


def test_after_a_step_that_was_halved_none_follows():
    class FromTheSecond:
        asked = 0

        def allows(self, topic_ids, centroids):
            self.asked += 1
            return self.asked > 1  # the whole step is too far, its half and all later ones are not

    points = np.tile(unit(np.array([[0.0, 1.0], [0.6, 0.8]])), (500, 1))
    start = unit(np.array([[1, 0], [0.8, 0.6]]))
    labels = (points @ start.T).argmax(axis=1)
    section = TopicSettings(clusters=2)
    centres = take_steps(points, np.array([1, 2]), start, section, FromTheSecond(), "cpu")
    half = start + (shrunk_means(points, labels, start) - start) / 2
    np.testing.assert_allclose(centres, unit(half), atol=1e-6)


def test_splits_are_limited_like_births():
    """Two topics of ten videos are above 1.2 times the mean of eight, and two births too many."""
    axes = np.eye(5, dtype=np.float32)
    a = np.repeat(axes, [6, 4, 6, 4, 4], axis=0)
    before = topics_at([axes[0] + axes[1], axes[2] + axes[3], axes[4]])
    for growth, split_from in ((0.3, [0, 0, 0, 1]), (0.6, [0, 0, 0, 1, 2])):
        section = TopicSettings(clusters=3, overfull=1.2, **(FREE | {"growth": growth}))
        topics = learn_topics(a, previous=before, settings=section, seed=0)
        assert topics.split_from.tolist() == split_from


def test_what_founds_a_topic_leaves_less_for_splits():
    """One birth is allowed: four unmatched videos have it, the overfull topic waits."""
    axes = np.eye(5, dtype=np.float32)
    a = np.repeat(axes, [6, 4, 2, 1, 4], axis=0)
    before = topics_at([axes[0] + axes[1], axes[2], axes[3]])
    for growth, split_from in ((0.3, [0, 0, 0, 0]), (0.6, [0, 0, 0, 0, 1])):
        section = TopicSettings(clusters=3, overfull=1.2, **(FREE | {"growth": growth}))
        topics = learn_topics(a, previous=before, settings=section, seed=0)
        assert topics.split_from.tolist() == split_from


def test_a_judge_asks_for_sets_as_well_as_for_first_topics():
    """One video near to both of two centres; the second moves away from it."""
    points = unit(np.array([[0.8, 0.6]]))
    close, far = np.eye(2, dtype=np.float32), unit(np.array([[1, 0], [-1, 0.1]]))
    ids, threshold = np.array([1, 2]), np.array([0.5], np.float32)
    last = slots_of(points, threshold, ids, close, device="cpu")
    assert last[0, :2].tolist() == [1, 2]
    for least, allowed in ((Kept(1, 0), True), (Kept(0, 1), False)):
        judge = Judge(points, threshold, last, least, "cpu")
        assert judge.allows(ids, close)
        assert judge.allows(ids, far) is allowed


def test_a_loose_topic_splits():
    """Mean cosines .707 and 1, 1: below .75 of the median, with no more videos than others."""
    a = np.eye(4, dtype=np.float32)[[0] * 5 + [1] * 4 + [2] * 9 + [3] * 9]
    before = topics_at([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for loose, ids in ((0.75, [1, 2, 3, 4]), (0.70, [1, 2, 3])):
        section = TopicSettings(clusters=3, loose=loose, **FREE)
        topics = learn_topics(a, previous=before, settings=section, seed=0)
        assert topics.topic_ids.tolist() == ids


def test_videos_that_have_nothing_in_common_found_no_topic():
    """Four at right angles are at cosine .5 to their mean, each at 0 to that of the others."""
    a = np.eye(6, dtype=np.float32)
    threshold = np.full(6, 0.45, np.float32)
    assert len(learn(a, topics_at(np.eye(6)[:2]), threshold=threshold).born) == 0
    near, far = (
        found_topics(
            Rows(unit(a[2:] + common), np.arange(4)),
            threshold[:4],
            4,
            9,
            np.random.default_rng(0),
        )
        for common in (0.1, 0.5)
    )
    assert (len(near), len(far)) == (0, 1)  # at cosine .21 and .71 to each other


def test_where_no_video_matches_any_topic_all_found_new_ones():
    a = np.eye(4, dtype=np.float32)[[2] * 4 + [3] * 5]
    topics = learn(a, topics_at(np.eye(4)[:2]), TopicSettings(clusters=2, growth=1))
    assert (topics.retired.tolist(), topics.born.tolist()) == ([1, 2], [3, 4])
    assert topics.sizes.tolist() == [5, 4]  # the larger group first


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.5), st.integers(1, 12))
def test_equal_input_changes_nothing(seed, spread, clusters):
    rng = np.random.default_rng(seed)
    section = TopicSettings(clusters=clusters, loose=1, overfull=1.01)
    first = learn(videos(rng.integers(0, 14, 80), seed, spread), settings=section)
    a = videos(rng.integers(0, 14, 90), seed + 1, spread)
    second = learn(a, first, section)
    third = learn(a[rng.permutation(90)], second, section)
    assert is_same(replace(second, born=third.born, retired=third.retired), third)
    assert len(third.born) == len(third.retired) == 0


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_ids_are_unique_and_never_reused(data):
    """Over trainings on groups that come and go, of any size, with splits and births."""
    section = TopicSettings(clusters=3, min_size=2, overfull=1.5, loose=0.95, growth=0.5)
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    topics, ever, gone = None, set(), set()
    for _ in range(5):
        sizes = data.draw(st.lists(st.integers(0, 20), min_size=14, max_size=14).filter(any))
        groups = np.repeat(np.arange(14), np.maximum(sizes, [1] * 3 + [0] * 11))
        alive = set() if topics is None else set(topics.topic_ids.tolist())
        last = np.full((len(groups), 8), -1)
        a = videos(groups, int(rng.integers(10**6)), spread=0.15)
        topics = learn(a, topics, section, last=last)
        born, now = set(topics.born.tolist()), set(topics.topic_ids.tolist())
        assert not born & ever
        assert not now & gone
        assert set(topics.retired.tolist()) == alive - now
        assert now == (alive - set(topics.retired.tolist())) | born
        ever, gone = ever | born, gone | set(topics.retired.tolist())
        assert topics.next_id > max(ever)
        assert set(topics.split_from.tolist()) <= ever | {0}
        assert (topics.split_from < topics.topic_ids).all()
        assert (np.diff(topics.topic_ids) > 0).all()
        assert (topics.sizes > 0).all()
        assert topics.sizes.sum() == len(a)


def stay(before, after):
    """Shares of videos with the same first topic, and with the same set."""
    pairs = [
        ([i for i in x if i >= 0], [i for i in y if i >= 0])
        for x, y in zip(before, after, strict=True)
    ]
    return np.mean([x[0] == y[0] for x, y in pairs]), np.mean([{*x} == {*y} for x, y in pairs])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.7, 0.9, 0.95, 1.0]), st.sampled_from([0.5, 0.9]))
def test_enough_videos_keep_their_topics(seed, keep_first, keep_set):
    """Whatever comes beside them; by sets of plain numbers."""
    rng = np.random.default_rng(seed)
    section = TopicSettings(
        clusters=8, keep_first=keep_first, keep_set=keep_set, loose=1, overfull=1.5, threshold=0.4
    )
    old = videos(rng.integers(0, 10, 150), seed, spread=0.25)
    first = learn(old, settings=section)
    before = slots(first, old)
    new = videos(rng.integers(4, 14, 150), seed + 1, spread=0.25)
    last = np.concatenate([before, np.full((150, 8), -1)])
    then = learn(np.concatenate([old, new]), first, section, last=last)
    after = slots(then, old)
    kept_first, kept_set = stay(before, after)
    assert kept_first >= keep_first
    assert kept_set >= keep_set


def test_new_representations_may_move_more_and_nothing_is_added():
    """Half the videos have others: what the old centres keep is what has to stay."""
    a = videos(TEN, 1)
    first = learn(a)
    before = slots(first, a)
    turned = np.concatenate([a[:150], a[:149:-1]])
    now = slots(first, turned)
    then = learn(turned, first, last=before)
    after = slots(then, turned)
    assert stay(before, now) < (0.61, 0.61)  # five groups change places, one with itself
    assert all(np.array(stay(before, after)) >= stay(before, now))


def test_the_number_of_clusters_is_where_an_epoch_starts():
    a = videos(TEN, 1)
    first = learn(a)
    for clusters in (5, 12):
        assert is_same(learn(a, first, TopicSettings(clusters=clusters)), first)
    fewer = learn(a, first, TopicSettings(clusters=5), new_epoch=True)
    assert fewer.topic_ids.tolist() == list(range(11, 16))


def test_an_epoch_ends_with_the_width_or_by_word():
    a = videos(TEN, 1)
    first = learn(a)
    wider = learn(np.pad(a, ((0, 0), (0, 3))), first)
    by_word = learn(a, first, new_epoch=True)
    for then in (wider, by_word):
        assert (then.epoch, then.topic_ids.tolist()) == (2, list(range(11, 21)))
        assert then.retired.tolist() == list(range(1, 11))
        assert then.born.tolist() == list(range(11, 21))
        assert then.training == 1
    assert learn(a, first).epoch == 1


def test_zero_rows_are_no_videos():
    a = videos(TEN, 1)
    one, two = learn(a), learn(np.insert(a, [0, 150], 0, axis=0))
    assert np.array_equal(one.centroids, two.centroids)
    assert one.sizes.sum() == two.sizes.sum() == 300


def test_a_sample_learns_and_all_videos_count():
    a = videos(np.repeat(np.arange(10), 200), 1)
    topics = learn(a, settings=TopicSettings(clusters=10, sample=300))
    assert topics.sizes.tolist() == [200] * 10
    again = learn(a, settings=TopicSettings(clusters=10, sample=300))
    assert topics.centroids.tobytes() == again.centroids.tobytes()


def test_each_training_draws_another_sample():
    section = TopicSettings(clusters=10, sample=200)
    first = learn(videos(np.repeat(np.arange(10), 200), 1), settings=section)
    a = videos(np.repeat(np.arange(10), 210), 2)
    second, third = (learn(a, replace(first, training=n), section) for n in (1, 2))
    assert (second.training, third.training) == (2, 3)
    assert not np.array_equal(second.centroids, third.centroids)


def test_a_topic_too_small_for_the_sample_lives_on():
    section = TopicSettings(clusters=10, sample=100)
    first = learn(videos(TEN, 1))
    small = videos(
        np.repeat(np.arange(10), [300] * 9 + [2]), 2
    )  # two of 2,702: hardly in a sample of 100
    topics = first
    for seed in range(5):
        topics = learn_topics(small, previous=topics, settings=section, seed=seed)
        assert topics.topic_ids.tolist() == first.topic_ids.tolist()
    assert sorted(topics.sizes) == [2, *[300] * 9]


def test_a_single_sampled_video_does_not_become_the_centre():
    """It counts as one beside ten: (10 (1, 0) + (.6, .8)) / |(10.6, .8)|."""
    centre = shrunk_means(np.array([[0.6, 0.8]], np.float32), np.array([0]), unit([[1.0, 0]]))
    np.testing.assert_allclose(centre, np.array([[10.6, 0.8]]) / np.hypot(10.6, 0.8), atol=1e-6)


def test_bad_state_is_named():
    a = videos(TEN, 1)
    broken: Topics = replace(learn(a), next_id=5)
    with pytest.raises(ContractError, match="next_id above every ID, found topic 10 and next_id 5"):
        learn(a, broken)
    with pytest.raises(SettingsError, match="at most 5, the videos"):
        learn(np.pad(a[:5], ((0, 4), (0, 0))))


@pytest.mark.parametrize("previous", [None, topics_at(np.eye(4))])
@pytest.mark.parametrize("videos", [0, 5])
def test_without_any_representation_the_cause_is_named(videos, previous):
    """Not `lower topics.clusters` to 0."""
    with pytest.raises(TableError, match="a tag that has a vector, found none"):
        learn_topics(
            np.zeros((videos, 4), np.float32),
            previous=previous,
            settings=TopicSettings(clusters=2),
            seed=0,
        )


@pytest.mark.parametrize(("videos", "clusters"), [(1, 1), (6, 1), (6, 6)])
def test_equal_videos_make_one_topic_of_all(videos, clusters):
    a = np.repeat(np.array([[0.6, -0.64, 0.48]], np.float32), videos, axis=0)
    first = learn_topics(a, previous=None, settings=TopicSettings(clusters=clusters), seed=0)
    again = learn_topics(a, previous=first, settings=TopicSettings(clusters=clusters), seed=1)
    for topics in (first, again):
        assert (topics.topic_ids.tolist(), topics.sizes.tolist()) == ([1], [videos])
        np.testing.assert_allclose(topics.centroids, a[:1], atol=1e-6)


def test_a_videos_own_threshold_says_whether_it_matches_nothing():
    """Eight videos at a cosine of about .5 to topic 1: alone at .6, not at their own .3."""
    one, two, off = np.eye(3, dtype=np.float32)
    far = unit(0.5 * one + 0.87 * off + 0.01 * np.random.default_rng(3).normal(size=(8, 3)))
    a = np.concatenate([unit(np.tile([one, two], (20, 1)) + 0.01), far])
    before = learn(a[:40], settings=TopicSettings(clusters=2))
    settings = TopicSettings(clusters=2, min_size=4, growth=0.5, keep_first=0, keep_set=0, loose=0)
    assert len(learn(a, before, settings).born) == 1
    own = np.full(48, 0.6, np.float32)
    own[40:] = 0.3
    assert len(learn(a, before, settings, threshold=own).born) == 0


def test_k_follows_the_catalogue_where_none_is_set():
    a = videos(TEN, 1, spread=0.5)
    assert len(learn(a, settings=TopicSettings(restarts=1)).topic_ids) == clusters_for(len(a))
