"""Figures of recall: the example of RecTools' documentation, and scikit-learn's on any list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, recall_score

from vidtopics.evaluate.recall_metrics import coverage, hit_rate, ndcg, novelty

VIDEOS = 12
LISTS = [7, 8], [1, 2], [1, 2, 3, 4], [1, 2, 3]
CLICKED = frozenset({1, 2}), frozenset({1}), frozenset({1, 3, 4}), frozenset({1, 2, 3})
SHARE = np.array([1, 3, 1, 1, 1]) / 3
"""Of three users who clicked before three clicked video 1, one video 2 and nobody 3 and 4."""


def test_the_example_of_rectools():
    """Recall, NDCG (of what is achievable), MeanInvUserFreq and CatalogCoverage at 3 there."""
    pairs = list(zip(LISTS, CLICKED, strict=True))
    assert [hit_rate(*pair, 3) for pair in pairs] == pytest.approx([0, 1, 2 / 3, 1])
    assert [ndcg(*pair, 3) for pair in pairs] == pytest.approx([0, 1, 0.70391809, 1])
    novelties = [novelty(ranked, SHARE) for ranked in ([3], [2, 3], [1, 2])]
    assert novelties == pytest.approx([1.5849625, 1.5849625, 0.79248125])
    assert coverage(LISTS, 10) == 0.6  # 1, 2, 3, 4, 7 and 8


@given(
    st.permutations(range(VIDEOS)),
    st.sets(st.integers(0, VIDEOS - 1), min_size=1).map(frozenset),
    st.integers(1, VIDEOS),
)
def test_as_scikit_learn_has_them(order, clicked, k):
    """A list of k scores its videos from k down to 1, and all others 0."""
    gains = np.isin(np.arange(VIDEOS), list(clicked)).astype(int)
    scores = np.zeros(VIDEOS)
    scores[order[:k]] = np.arange(k, 0, -1)
    for ranked in (order[:k], order):
        assert ndcg(ranked, clicked, k) == pytest.approx(ndcg_score([gains], [scores], k=k))
        assert hit_rate(ranked, clicked, k) == pytest.approx(recall_score(gains, scores > 0))
