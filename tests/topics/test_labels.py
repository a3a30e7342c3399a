"""Label terms: c-TF-IDF worked by hand and against a dictionary."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from producers.topics.labels import label_terms


def label(ids, topic, tags, titles, terms=5):
    return label_terms(
        np.array(ids),
        np.array(topic),
        pa.array(tags, pa.list_(pa.string())),
        pa.array(titles),
        terms=terms,
    )


def test_a_term_of_all_topics_sets_none_apart():
    """Topic 1: film 3, heist 2; topic 2: film 3, space 2. A = 10 / 2 = 5.

    film: 3 ln(1 + 5/6) = 1.82; heist, space: 2 ln(1 + 5/2) = 2.51.
    """
    tags = [
        ["film", "heist"],
        ["film", "heist"],
        ["film"],
        ["film", "space"],
        ["film", "space"],
        ["film"],
    ]
    assert label([1, 2], [1, 1, 1, 2, 2, 2], tags, [""] * 6) == [
        ["heist", "film"],
        ["space", "film"],
    ]


def test_title_words():
    titles = ["The Café's 2nd CAFÉ (1995)", "x 猫 猫咪", ""]
    assert label([7], [7, 7, 7], [["sci-fi"], None, []], titles, terms=9) == [
        ["café", "nd", "sci-fi", "猫咪"]
    ]


def test_order_of_topics_and_videos_without_topic():
    tags = [["a"], ["b"], ["c"], ["d"]]
    assert label([9, 3, 5], [3, 9, -1, 4], tags, [""] * 4) == [["b"], ["a"], []]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.sampled_from("pqrstuvw"), max_size=5)), max_size=25
    ),
    st.randoms(),
)
def test_equals_the_dictionary_and_ignores_the_order_of_videos(rows, random):
    ids = [0, 1, 2, 3]
    counts = {
        topic: Counter(t for row, tags in rows if row == topic for t in set(tags)) for topic in ids
    }
    total = sum(counts.values(), Counter())
    mean = total.total() / len(ids)

    def best(topic):
        score = {t: n * math.log1p(mean / total[t]) for t, n in counts[topic].items()}
        return sorted(score, key=lambda t: (-round(score[t], 9), t))[:3]

    random.shuffle(rows)
    terms = (
        label(ids, [t for t, _ in rows], [tags for _, tags in rows], [""] * len(rows), terms=3)
        if rows
        else []
    )
    assert terms == ([best(topic) for topic in ids] if rows else [])
