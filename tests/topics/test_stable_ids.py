"""A topic keeps its ID for life, and no ID comes back."""

from dataclasses import replace

import numpy as np
import pytest

from producers.topics.assignment import assign
from producers.topics.stable_ids import Topics, learn_topics
from vidtopics.errors import ContractError, SettingsError, TableError
from vidtopics.settings import TopicSettings

SETTINGS = TopicSettings(clusters=10)


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


def nearest_id(topics, a):
    return assign(a, topics.centroids, topics.topic_ids, topics.threshold).topic_ids[:, 0]


TEN = np.repeat(np.arange(10), 30)


def test_ids_stay_with_ten_percent_new_videos():
    old = videos(TEN, 1, spread=0.3)
    first = learn(old)
    then = learn(np.concatenate([old, videos(TEN[::10], 2, spread=0.3)]), first)
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


def test_over_many_runs_no_id_is_given_twice():
    rng, topics, ever = np.random.default_rng(5), None, set()
    for run in range(8):
        groups = np.repeat(rng.choice(14, 10, replace=False), 20)
        alive = set() if topics is None else set(topics.topic_ids.tolist())
        topics = learn(videos(groups, run), topics)
        born, now = set(topics.born.tolist()), set(topics.topic_ids.tolist())
        assert not born & ever
        assert set(topics.retired.tolist()) == alive - now
        assert now == (alive - set(topics.retired.tolist())) | born
        ever |= born
        assert topics.next_id == max(ever) + 1
        assert (np.diff(topics.topic_ids) > 0).all()
        assert (topics.sizes > 0).all()


def test_more_clusters_add_and_fewer_retire_the_smallest():
    a = np.concatenate([videos(TEN, 1), videos(np.repeat([10, 11], [18, 20]), 2)])
    first = learn(a, settings=TopicSettings(clusters=12))
    assert sorted(first.sizes) == [18, 20, *[30] * 10]
    small = {int(i) for i in nearest_id(first, CENTRES[[10, 11]])}
    fewer = learn(a, first, TopicSettings(clusters=10))
    assert set(fewer.retired.tolist()) == small
    assert (len(fewer.born), len(fewer.topic_ids), fewer.next_id) == (0, 10, 13)
    more = learn(a, fewer, TopicSettings(clusters=12))
    assert more.born.tolist() == [13, 14]
    assert set(fewer.topic_ids.tolist()) < set(more.topic_ids.tolist())
    assert np.array_equal(nearest_id(more, CENTRES[:10]), nearest_id(first, CENTRES[:10]))


def test_an_epoch_ends_with_the_width_or_by_word():
    a = videos(TEN, 1)
    first = learn(a)
    wider = learn(np.pad(a, ((0, 0), (0, 3))), first)
    by_word = learn(a, first, new_epoch=True)
    for then in (wider, by_word):
        assert (then.epoch, then.topic_ids.tolist()) == (2, list(range(11, 21)))
        assert then.retired.tolist() == list(range(1, 11))
        assert then.born.tolist() == list(range(11, 21))
    assert learn(a, first).epoch == 1


def test_the_threshold_is_calibrated_once_in_an_epoch():
    target = TopicSettings(clusters=10, target_topics=3)
    a = videos(TEN, 1, spread=0.4)
    first = learn(a, settings=target)
    assert assign(
        a, first.centroids, first.topic_ids, first.threshold
    ).topic_count.mean() == pytest.approx(3, abs=0.01)
    b = videos(TEN, 2, spread=0.2)
    assert learn(b, first, target).threshold == first.threshold
    assert learn(b, first, target, new_epoch=True).threshold != first.threshold
    assert learn(b, first).threshold == SETTINGS.threshold  # no target: as set, at once


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


def test_a_topic_too_small_for_the_sample_lives_on():
    settings = TopicSettings(clusters=10, sample=100)
    first = learn(videos(TEN, 1))
    small = videos(
        np.repeat(np.arange(10), [300] * 9 + [2]), 2
    )  # two of 2,702: hardly in a sample of 100
    topics = first
    for seed in range(5):
        topics = learn_topics(small, previous=topics, settings=settings, seed=seed)
        assert topics.topic_ids.tolist() == first.topic_ids.tolist()
    assert sorted(topics.sizes) == [2, *[300] * 9]


def test_bad_state_is_named():
    a = videos(TEN, 1)
    broken: Topics = replace(learn(a), next_id=5)
    with pytest.raises(ContractError, match="next_id above every ID, found topic 10 and next_id 5"):
        learn(a, broken)
    with pytest.raises(SettingsError, match="at most 5, the videos"):
        learn(np.pad(a[:5], ((0, 4), (0, 0))))


@pytest.mark.parametrize("videos", [0, 5])
def test_without_any_representation_the_cause_is_named(videos):
    """Not `lower topics.clusters` to 0."""
    with pytest.raises(TableError, match="a tag that has a vector, found none"):
        learn_topics(
            np.zeros((videos, 4), np.float32),
            previous=None,
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
