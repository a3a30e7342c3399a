"""Eq. 4 against a loop over videos."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from producers.tags.pooling import pool, pool_lists
from producers.tags.vectors import TagVectors

RNG = np.random.default_rng(0)
NAMES = [f"t{i}" for i in range(6)]
EMBEDDING = TagVectors(pa.array(NAMES), RNG.normal(size=(6, 4)).astype(np.float32))
LISTS = st.lists(
    st.none() | st.lists(st.sampled_from([*NAMES, "unknown"]), max_size=8), max_size=12
)


def oracle(tags):
    known = sorted({t for t in tags or () if t != "unknown"})
    mean = (
        sum(EMBEDDING.vectors[NAMES.index(t)].astype(float) for t in known) / len(known)
        if known
        else np.zeros(4)
    )
    return mean / np.linalg.norm(mean) if known else mean, len(known)


@given(LISTS)
def test_lists_equal_the_oracle(lists):
    pooled = pool_lists(pa.array(lists, pa.list_(pa.string())), EMBEDDING)
    assert pooled.tag_embedding.dtype == np.float32
    assert pooled.tag_embedding.shape == (len(lists), 4)
    for row, tags in enumerate(lists):
        vector, count = oracle(tags)
        assert pooled.tag_count[row] == count
        assert np.allclose(pooled.tag_embedding[row], vector, atol=1e-6)


@given(LISTS, st.integers(0, 12), st.randoms())
def test_order_repetition_and_batch_change_no_byte(lists, cut, random):
    whole = pool_lists(pa.array(lists, pa.list_(pa.string())), EMBEDDING).tag_embedding
    mixed = [
        random.sample(tags + tags[:2], len(tags) + len(tags[:2])) if tags else tags
        for tags in lists
    ]
    array = pa.array(mixed, pa.list_(pa.string()))
    parts = [
        pool_lists(part, EMBEDDING).tag_embedding
        for part in (array.slice(0, cut), array.slice(cut))
    ]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_by_hand():
    # (3, 4) and (1, 0): mean (2, 2), length 1: (0.7071, 0.7071)
    pooled = pool(
        np.array([1, 1]), np.array([0, 1]), np.array([[3, 4], [1, 0]], np.float32), videos=3
    )
    assert np.allclose(pooled.tag_embedding, [[0, 0], [0.70710678, 0.70710678], [0, 0]])
    assert pooled.tag_count.tolist() == [0, 2, 0]


def test_without_any_vector():
    empty = TagVectors(pa.array([], pa.string()), np.empty((0, 4), np.float32))
    pooled = pool_lists(pa.array([["t1"], []], pa.list_(pa.string())), empty)
    assert (pooled.tag_embedding == 0).all()
    assert pooled.tag_count.tolist() == [0, 0]


def test_other_string_types():
    for kind in (pa.large_string(), pa.string()):
        pooled = pool_lists(pa.array([["t1", "t2"]], pa.list_(kind)), EMBEDDING)
        assert np.allclose(pooled.tag_embedding[0], oracle(["t1", "t2"])[0], atol=1e-6)
