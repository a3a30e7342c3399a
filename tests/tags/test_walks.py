"""Walks: golden values, transition frequencies, and the independence of threads."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from producers.tags.graph import build_graph
from producers.tags.walks import draw, find_edge, mix, random_walks, search_guides

# a-b 2, a-c 1, b-c 1, c-d 4; e has no edge.
GRAPH = build_graph(["a", "a", "b", "c"], ["b", "c", "c", "d"], [2, 1, 1, 4], isolated=["e"])
MATRIX = np.array([[0, 2, 1, 0], [2, 0, 1, 0], [1, 1, 0, 4], [0, 0, 4, 0]])


def test_random_numbers_are_splitmix64():
    # The generator's published outputs for seed 1234567.
    known = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + step * golden) % 2**64 for step in range(1, 6)]
    assert [int(mix(np.uint64(state))) for state in states] == known
    assert [draw(np.uint64(1234567), step) for step in range(1, 6)] == [
        (x >> 11) * 2.0**-53 for x in known
    ]


def test_golden_walks():
    walks = random_walks(GRAPH, walks=2, length=8, seed=7)
    assert walks.dtype == np.int32
    assert ["".join("abcde-"[i] for i in walk) for walk in walks] == [
        *("abcdcdcd", "bacdcdcb", "cbcdcabc", "dcdcdcdc", "e-------"),
        *("abababab", "bababcbc", "cdcdcdcd", "dcbabcba", "e-------"),
    ]


def test_steps_follow_the_weights():
    walks = random_walks(GRAPH, walks=3000, length=20, seed=1)
    walks = walks[walks[:, 0] != 4]
    seen = np.zeros((4, 4), int)
    np.add.at(seen, (walks[:, :-1].ravel(), walks[:, 1:].ravel()), 1)
    assert (seen[MATRIX == 0] == 0).all()
    for node in range(3):  # d has one neighbour
        edge = MATRIX[node] > 0
        expected = seen[node].sum() * MATRIX[node, edge] / MATRIX[node].sum()
        assert chisquare(seen[node, edge], expected).pvalue > 0.001


def test_successive_steps_are_independent():
    """From c over d back to c: the next step must not depend on how the walk came to c."""
    walks = random_walks(GRAPH, walks=5000, length=4, seed=2)
    walks = walks[(walks[:, 1] == 2) & (walks[:, 0] != 3)]
    after_a, after_b = (
        np.bincount(walks[walks[:, 0] == start, 2], minlength=4)[[0, 1, 3]] for start in (0, 1)
    )
    assert chisquare(after_a, after_a.sum() * np.array([1, 1, 4]) / 6).pvalue > 0.001
    assert chisquare(after_b, after_b.sum() * np.array([1, 1, 4]) / 6).pvalue > 0.001


def test_every_tag_starts_and_an_isolated_one_stays_alone():
    walks = random_walks(GRAPH, walks=3, length=5, seed=0)
    assert walks[:, 0].tolist() == [0, 1, 2, 3, 4] * 3
    assert walks[4].tolist() == [4, -1, -1, -1, -1]
    assert (walks[:4] >= 0).all()


def test_same_bytes_for_any_number_of_threads():
    before = numba.get_num_threads()
    try:
        walks = []
        for threads in range(1, before + 1):
            numba.set_num_threads(threads)
            walks.append(random_walks(GRAPH, walks=200, length=50, seed=3).tobytes())
    finally:
        numba.set_num_threads(before)
    assert len(set(walks)) == 1


def test_seeds_and_passes_differ_and_more_passes_only_add():
    few, many = (random_walks(GRAPH, walks=n, length=30, seed=3) for n in (2, 5))
    assert np.array_equal(few, many[: len(few)])
    assert not np.array_equal(few[:4], few[5:9])
    assert not np.array_equal(few, random_walks(GRAPH, walks=2, length=30, seed=4))


@pytest.mark.parametrize("length", [1, 2])
def test_short_walks(length):
    assert random_walks(GRAPH, walks=1, length=length, seed=0).shape == (5, length)


def test_empty_graph():
    assert random_walks(build_graph([], [], []), walks=3, length=4, seed=0).shape == (0, 4)


WEIGHTS = st.lists(st.integers(1, 1000), min_size=1, max_size=40)
DRAWS = st.one_of(
    st.floats(0, 1, exclude_max=True),
    st.builds(lambda k, n: min(k, n - 1) / n, st.integers(0, 40), st.integers(1, 40)),
    st.just(1 - 2**-53),
)


@given(WEIGHTS, WEIGHTS, DRAWS)
def test_an_edge_is_that_of_a_sorted_search(before, weights, u):
    """Of the second node of two, at draws on a guide's bound too."""
    first, end = len(before), len(before) + len(weights)
    cumulative = np.concatenate([[0.0], np.cumsum(before + weights, dtype=np.float64)])
    indptr = np.array([0, first, end])
    guides = search_guides(indptr, cumulative)
    target = cumulative[first] + u * (cumulative[end] - cumulative[first])
    bounds = cumulative[first + 1 : end]
    expected = first + np.searchsorted(bounds, target, side="right")
    assert find_edge(cumulative, guides, first, end, u) == expected
    for wrong in (0, len(weights) - 1):
        guides[first:] = wrong
        assert find_edge(cumulative, guides, first, end, u) == expected


@given(WEIGHTS)
def test_a_guide_is_an_edge_away_on_average(weights):
    """The mean over all draws; from the node's first edge it is half of its edges."""
    n = len(weights)
    cumulative = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    guides = search_guides(np.array([0, n]), cumulative)
    draws = (np.arange(50 * n) + 0.5) / (50 * n)
    edges = np.searchsorted(cumulative[1:-1], draws * cumulative[-1], side="right")
    further = edges - guides[(draws * n).astype(int)]
    assert further.min() >= 0
    assert further.mean() <= 1
