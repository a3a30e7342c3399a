"""Label terms: c-TF-IDF worked by hand and against a dictionary."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.topics.labels import distinct_labels, label_terms, name_topics
from vidtopics.errors import ContractError


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
    """With a single topic no other tells "the" from a word of its own."""
    titles = ["The Café's 2nd CAFÉ (1995)", "x 猫 猫咪", ""]
    assert label([7], [7, 7, 7], [["sci-fi"], None, []], titles, terms=9) == [
        ["café", "nd", "sci-fi", "the", "猫咪"]
    ]


def test_words_of_any_language_that_every_topic_has_are_no_label():
    titles = ["der Hund und die Katze", "die Katze und der Ball", "der Zug und die Bahn"] * 4
    topics = [1, 1, 2] * 4
    [cats, trains] = label([1, 2], topics, [[]] * 12, titles, terms=5)
    assert cats == ["katze", "ball", "hund"]
    assert trains == ["bahn", "zug"]


def test_a_topic_of_common_words_alone_is_called_by_them():
    titles = ["blue sea", "blue sea", "blue sea", "blue sea", "blue sky"]
    sea, more, sky = label([1, 2, 3], [1, 1, 2, 2, 3], [[]] * 5, titles, terms=2)
    assert (sea, more, sky) == (["sea"], ["sea 2"], ["sky"])
    same = ["blue sea"] * 4
    assert label([1, 2], [1, 1, 2, 2], [[]] * 4, same, terms=2) == [
        ["blue", "sea"],
        ["blue 2", "sea"],
    ]


def test_scripts_without_spaces_are_read_in_pairs_of_letters():
    titles = ["可爱猫咪视频", "猫咪合集", "高铁旅行视频", "坐高铁"]
    [cats, trains] = label([1, 2], [1, 1, 2, 2], [[]] * 4, titles, terms=1)
    assert (cats, trains) == (["猫咪"], ["高铁"])


def test_vowel_signs_are_parts_of_words():
    assert label([1], [1], [[]], ["हिन्दी गाने"], terms=5) == [["गाने", "हिन्दी"]]


def test_a_tag_is_a_label_even_if_others_have_it():
    tags = [["film"], ["film"], ["film"], ["film"]]
    labels = label([1, 2], [1, 1, 2, 2], tags, [""] * 4)
    assert labels == [["film"], ["film 2"]]


def test_topics_of_the_same_terms_differ_by_their_next_best():
    """A = 13 / 2: a and b 3 ln(1 + 6.5 / 6) = 2.2 in both topics, c ln(1 + 6.5) = 2.0."""
    tags = [["a", "b"]] * 5 + [["a", "b", "c"]]
    assert label([1, 2], [1] * 3 + [2] * 3, tags, [""] * 6, terms=2) == [["a", "b"], ["a", "c"]]


@given(st.lists(st.lists(st.sampled_from("abcd"), unique=True, max_size=4), max_size=12))
def test_no_two_topics_have_one_label(ranked):
    labels = distinct_labels(ranked, 2)
    named = [frozenset(x) for x in labels if x]
    assert len(set(named)) == len(named)
    assert [bool(x) for x in labels] == [bool(x) for x in ranked]
    assert all(len(x) == min(2, len(r)) for x, r in zip(labels, ranked, strict=True))


def test_a_team_brings_a_labeller():
    seen = []

    def labeller(topics):
        seen.extend(topics)
        return ["Cats", "  ", "Cats"]

    labels = name_topics(
        labeller, np.array([3, 5, 6]), [["cat"], ["dog"], ["cat"]], [["A cat"], [], ["Cat"]]
    )
    assert labels == [["Cats", "cat"], ["dog"], ["Cats 2", "cat"]]
    assert next((t.topic_id, t.terms, t.titles) for t in seen) == (3, ["cat"], ["A cat"])


@pytest.mark.parametrize("names", [["one"], ["one", None]])
def test_a_labeller_that_answers_otherwise_is_named(names):
    with pytest.raises(ContractError, match=r"topics.labeller: expected 2 names"):
        name_topics(lambda topics: names, np.array([1, 2]), [["a"], ["b"]], [[], []])


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
        return sorted(score, key=lambda t: (-round(score[t], 9), t))[:8]

    random.shuffle(rows)
    terms = (
        label(ids, [t for t, _ in rows], [tags for _, tags in rows], [""] * len(rows), terms=3)
        if rows
        else []
    )
    assert terms == (distinct_labels([best(topic) for topic in ids], 3) if rows else [])
