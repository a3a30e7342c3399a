"""Hit rate and NDCG of recall against scikit-learn's, on the same lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, recall_score

from vidtopics.evaluate.recall_metrics import hit_rate, ndcg

VIDEOS = 12


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
