"""Pairs that differ by their cover alone: against all pairs, tried one by one."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from producers.topics.pairs import unlike_covers
from producers.unit_length import to_unit_length


def unit(x):
    return to_unit_length(x).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_each_topics_pair_has_the_greatest_contrast(seed, count):
    rng = np.random.default_rng(seed)
    image, title, tag = (unit(rng.normal(size=(25, 4))) for _ in range(3))
    image[::7] = 0  # no cover
    topic = rng.integers(-1, 4, 25)

    def contrast(a, b):
        return (title[a] @ title[b] + tag[a] @ tag[b]) / 2 - image[a] @ image[b]

    best = {}
    for a, b in combinations(range(25), 2):
        if topic[a] == topic[b] >= 0 and image[a].any() and image[b].any():
            best[topic[a]] = max(best.get(topic[a], -9), contrast(a, b))
    pairs = unlike_covers(image, title, tag, topic, count=count)
    expected = sorted(best.values(), reverse=True)[:count]
    np.testing.assert_allclose([contrast(p.first, p.second) for p in pairs], expected, atol=1e-6)
    for pair in pairs:
        assert topic[pair.first] == topic[pair.second] >= 0
        np.testing.assert_allclose(pair.image, image[pair.first] @ image[pair.second], atol=1e-6)


def test_a_topic_of_one_video_has_no_pair():
    x = unit(np.ones((3, 2)))
    assert unlike_covers(x, x, x, np.array([1, 2, -1]), count=5) == []
