"""Parents: groups of topics by hand, and IDs over random histories."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.topics.clustering import best_clustering, clusters_for
from producers.topics.kmeans import spherical_kmeans
from producers.topics.parents import Parents, group_topics
from vidtopics.errors import ContractError


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


THEMES = unit(np.random.default_rng(0).normal(size=(4, 12)))


def topics(theme, seed=1, spread=0.1):
    noise = np.random.default_rng(seed).normal(size=(len(theme), 12))
    return unit(THEMES[theme] + spread * noise)


THEME = np.repeat(np.arange(4), 4)
IDS = np.arange(1, 17)
SIZES = np.full(16, 10)


def test_sixteen_topics_of_four_themes_make_four_parents():
    parents = group_topics(IDS, topics(THEME), SIZES)
    assert parents.ids.tolist() == [1, 2, 3, 4]
    assert parents.next_id == 5
    by_theme = [set(parents.parent_ids[t == THEME]) for t in range(4)]
    assert [len(s) for s in by_theme] == [1] * 4
    assert len(set.union(*by_theme)) == 4
    for parent, centroid in zip(parents.ids, parents.centroids, strict=True):
        mean = topics(THEME)[parents.parent_ids == parent].mean(axis=0)
        np.testing.assert_allclose(centroid, unit(mean), atol=1e-6)


def test_a_parent_keeps_its_id_while_topics_move_come_and_go():
    first = group_topics(IDS, topics(THEME), SIZES)
    theme = np.append(THEME[2:], [1, 2])  # two topics of theme 0 retire, two others are born
    ids = np.append(IDS[2:], [17, 18])
    then = group_topics(ids, topics(theme, seed=5), SIZES, first)
    assert then.next_id == first.next_id
    before = dict(zip(first.topic_ids, first.parent_ids, strict=True))
    assert all(before[i] == p for i, p in zip(ids, then.parent_ids, strict=True) if i in before)
    assert then.parent_ids[ids == 17] == before[5]  # topic 5 is of theme 1


def test_the_larger_overlap_takes_the_id():
    """One parent of old topics 1, 2, 3; now 1 stands alone, 2 and 3 together, of 10, 4, 4 videos.

    A group of 10 videos beats one of 8: topic 1 keeps the ID; the others get a new one.
    """
    centroids = np.eye(3, dtype=np.float32)[[0, 1, 1]]
    old = Parents(
        np.array([1, 2, 3]), np.array([6, 6, 6]), np.array([6]), np.ones((1, 3), np.float32), 7
    )
    sizes = np.array([10, 4, 4])
    parents = group_topics(np.array([1, 2, 3]), centroids, sizes, old)
    assert len(parents.ids) == 2
    assert parents.parent_ids.tolist() == [6, 7, 7]
    heavier = group_topics(np.array([1, 2, 3]), centroids, np.array([7, 4, 4]), old)
    assert heavier.parent_ids.tolist() == [7, 6, 6]


def test_equal_input_twice_changes_nothing():
    first = group_topics(IDS, topics(THEME), SIZES)
    again = group_topics(IDS, topics(THEME), SIZES, first)
    assert np.array_equal(first.parent_ids, again.parent_ids)
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.next_id == again.next_id


def test_another_width_gives_new_ids():
    first = group_topics(IDS, topics(THEME), SIZES)
    then = group_topics(IDS + 16, np.pad(topics(THEME), ((0, 0), (0, 3))), SIZES, first)
    assert not set(then.ids) & set(first.ids)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_ids_are_unique_and_never_come_back(seed, counts):
    rng = np.random.default_rng(seed)
    previous, dead, next_topic = None, set(), 1
    living = np.empty(0, np.int64)
    for count in counts:
        living = living[rng.random(len(living)) < 0.6]
        born = np.arange(next_topic, next_topic + count)
        living, next_topic = np.append(living, born), next_topic + count
        centroids = unit(rng.normal(size=(len(living), 6)))
        parents = group_topics(living, centroids, rng.integers(0, 9, len(living)), previous)
        assert set(parents.parent_ids) == set(parents.ids)
        assert len(set(parents.ids)) == len(parents.ids)
        assert parents.ids.max() < parents.next_id
        assert not dead & set(parents.ids)
        if previous is not None:
            dead |= set(previous.ids) - set(parents.ids)
            new = set(parents.ids) - set(previous.ids)
            assert all(i >= previous.next_id for i in new)
        previous = parents


def test_slots_take_their_topics_parent():
    parents = group_topics(IDS, topics(THEME), SIZES)
    slots = np.array([[16, 1, -1], [-1, -1, -1]])
    of_topic = dict(zip(IDS, parents.parent_ids, strict=True))
    assert parents.of_slots(slots).tolist() == [[of_topic[16], of_topic[1], -1], [-1] * 3]
    with pytest.raises(ContractError, match="found topic 99"):
        parents.of_slots(np.array([[99]]))


def test_the_best_of_several_clusterings_is_taken():
    points = topics(np.repeat(np.arange(4), 30), spread=0.5)
    best = best_clustering(points, 12, restarts=4, iterations=50, seed=3)
    means = [
        spherical_kmeans(points, 12, iterations=50, seed=s).cosines.mean() for s in range(3, 7)
    ]
    assert len({round(float(m), 6) for m in means}) > 1
    assert best.cosines.mean() == pytest.approx(max(means))


@given(st.integers(1, 10_000_000))
def test_k_grows_with_the_catalogue_and_leaves_four_videos_a_topic(videos):
    k = clusters_for(videos)
    assert k <= clusters_for(videos + 1)
    assert k >= 1
    assert videos < 4 or 4 * k <= videos
