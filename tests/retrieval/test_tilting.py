"""Popular videos tilted to a user's taste, against a plain loop."""

from itertools import pairwise
from math import log

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consumers.retrieval.rules import TopicCounts
from consumers.retrieval.tilting import Popular, Taste


def lift(video_topics, topics, clicks, own, total, prior):
    """Mean log lift of a video's topics; 0 where it has none."""
    distinct = {t for t in video_topics if t >= 0}
    logs = []
    for topic in distinct:
        share = sum(c for t, c in zip(topics, clicks, strict=True) if topic in t) / sum(clicks)
        posterior = (own.get(topic, 0) + prior * share) / (total + prior)
        logs.append(log(posterior / share))
    return sum(logs) / len(logs) if logs else 0.0


slots = st.lists(st.integers(-1, 4), min_size=3, max_size=3)
videos = st.lists(st.tuples(st.integers(1, 50), slots, slots), min_size=1, max_size=8)
counts = st.dictionaries(st.integers(0, 6), st.integers(1, 9), max_size=4)


@given(videos, counts, counts, st.integers(0, 20), st.sampled_from([0.5, 10.0, 50.0]))
def test_as_a_plain_loop_has_it(rows, own_topics, own_parents, more, prior):
    clicks, topics, parents = (list(column) for column in zip(*rows, strict=True))
    total = max([0, *own_topics.values(), *own_parents.values()]) + more
    popular = Popular.of(
        [str(i) for i in range(len(rows))],
        np.array(clicks, float),
        np.array(topics),
        np.array(parents),
    )
    taste = Taste(*(as_counts(own) for own in (own_topics, own_parents)), total)
    scores = [
        log(clicks[i])
        + lift(topics[i], topics, clicks, own_topics, total, prior) / 2
        + lift(parents[i], parents, clicks, own_parents, total, prior) / 2
        for i in range(len(rows))
    ]
    order = popular.tilted(taste, prior).tolist()
    assert sorted(order) == list(range(len(rows)))
    tilted = [scores[i] for i in order]
    assert all(a >= b - 1e-9 for a, b in pairwise(tilted))


def as_counts(own):
    ids = sorted(own, key=lambda topic: -own[topic])
    return TopicCounts(np.array(ids, np.int64), np.array([own[t] for t in ids], np.int64))


def test_a_user_without_clicks_gets_the_queue_as_it_is():
    rng = np.random.default_rng(7)
    clicks = np.sort(rng.integers(1, 9, 50))[::-1].astype(float)  # with ties
    topics, parents = rng.integers(-1, 9, (2, 50, 8))
    popular = Popular.of([str(i) for i in range(50)], clicks, topics, parents)
    assert popular.tilted(Taste(as_counts({}), as_counts({}), 0), 50).tolist() == list(range(50))
    nothing = Popular.of([], np.zeros(0), np.zeros((0, 8), np.int64), np.zeros((0, 8), np.int64))
    assert nothing.tilted(Taste(as_counts({1: 2}), as_counts({}), 2), 50).tolist() == []
