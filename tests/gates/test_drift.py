"""The population stability index: by hand, by its properties, and against a plain oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtopics.gates.drift import bin_counts, decile_edges, number_drift, stability_index
from vidtopics.gates.topics import gini

COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12)
NUMBERS = st.lists(st.floats(-5, 5) | st.sampled_from([0.0, 1.0, math.nan]), min_size=1)


def test_the_index_by_hand() -> None:
    """Counts 9, 9 and 19, 4: shares .5, .5 and 19.5/24, 4.5/24."""
    a, b = 19.5 / 24, 4.5 / 24
    expected = (a - 0.5) * math.log(a / 0.5) + (b - 0.5) * math.log(b / 0.5)
    assert stability_index([9, 9], [19, 4]) == pytest.approx(expected)


@given(COUNTS)
def test_the_index_is_symmetric_not_negative_and_finite(counts: list[tuple[int, int]]) -> None:
    old, new = ([pair[side] for pair in counts] for side in (0, 1))
    index = stability_index(old, new)
    assert index == pytest.approx(stability_index(new, old), abs=1e-12)
    assert 0 <= index + 1e-12 < math.inf
    assert stability_index(old, old) == pytest.approx(0, abs=1e-12)


@given(NUMBERS, NUMBERS)
def test_drift_of_numbers_is_the_oracles(old: list[float], new: list[float]) -> None:
    numbers = sorted(x for x in old if not math.isnan(x))
    # The decile q of n numbers is the least of which at least q * n are no greater.
    deciles = [numbers[math.ceil(q * len(numbers) / 10) - 1] for q in range(1, 10) if numbers]
    edges = sorted(set(deciles))

    def bin_of(x: float) -> int:
        return -1 if math.isnan(x) else sum(edge < x for edge in edges)

    bins = range(len(edges) + 1)
    pairs = [(sum(bin_of(x) == b for x in old), sum(bin_of(x) == b for x in new)) for b in bins]
    if any(map(math.isnan, [*old, *new])):
        pairs.append((sum(map(math.isnan, old)), sum(map(math.isnan, new))))
    n, m, half = len(old), len(new), len(pairs) / 2
    shares = [((e + 0.5) / (n + half), (a + 0.5) / (m + half)) for e, a in pairs]
    expected = sum((a - e) * math.log(a / e) for e, a in shares)
    drift, count = number_drift(np.array(old), np.array(new))
    assert (drift, count) == (pytest.approx(expected, abs=1e-9), len(pairs))


def test_a_value_at_an_edge_belongs_to_the_bin_that_it_ends() -> None:
    edges = decile_edges(np.arange(1.0, 11.0))
    assert edges.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert bin_counts(np.array([1.0, 9.0, 9.5]), edges).tolist() == [1, *[0] * 7, 1, 1, 0]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_gini_is_the_mean_difference_over_twice_the_mean(sizes: list[int]) -> None:
    n, mean = len(sizes), sum(sizes) / len(sizes)
    differences = sum(abs(a - b) for a in sizes for b in sizes) / n**2
    expected = differences / (2 * mean) if mean else 0
    assert gini(sizes) == pytest.approx(expected)
