"""The order of rows by key and times, against numpy's lexsort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtopics.joins.keys import ordered

FAR = 2**63 - 1
TIMES = {
    "near": st.integers(0, 3),
    "far": st.sampled_from([-FAR - 1, -FAR, -1, 0, 1, FAR - 1, FAR]),
}


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(TIMES)).flatmap(
        lambda kind: st.lists(st.tuples(st.integers(0, 5), TIMES[kind], TIMES[kind]), max_size=30)
    )
)
def test_as_lexsort(rows):
    codes, first, second = np.array(rows, np.int64).reshape(-1, 3).T
    assert ordered(codes, first).tolist() == np.lexsort((first, codes)).tolist()
    assert ordered(codes, first, second).tolist() == np.lexsort((second, first, codes)).tolist()


@pytest.mark.parametrize("codes", [1, 2**20])
def test_many_rows_of_which_some_are_tied(codes):
    random = np.random.default_rng(5)
    code, first, second = (
        random.integers(0, codes, 50_000),
        random.integers(0, 2**50, 50_000),
        random.integers(0, 9, 50_000),
    )
    first[::7] = first[0]
    code[::14] = code[0]
    assert np.array_equal(ordered(code, first, second), np.lexsort((second, first, code)))
