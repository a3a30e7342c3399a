"""Neighbours against a plain sort; an index held to its recall; the GPU's call by a stand-in."""

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.topics import neighbours, products
from producers.topics.neighbours import near_duplicates, nearest_neighbours


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def random_unit(seed, rows, width=16):
    return unit(np.random.default_rng(seed).normal(size=(rows, width)))


def knn_gpu(resources, x, y, k, metric):
    """What `faiss.knn_gpu` gives, on a CPU and without faiss."""
    assert (resources, metric) == ("resources", faiss.METRIC_INNER_PRODUCT)
    cosines = x @ y.T
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosines, rows, axis=1), rows


@pytest.fixture(params=["cpu", "cuda"])
def device(request, monkeypatch):
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", knn_gpu, raising=False)
    return request.param


@pytest.mark.parametrize(("rows", "k"), [(1, 3), (7, 3), (150, 10)])
def test_neighbours_are_those_of_a_sort(device, rows, k, monkeypatch):
    monkeypatch.setattr(products, "CHUNK_ELEMENTS", 16 * 40)
    base, queries = random_unit(0, rows), random_unit(1, 20)
    result = nearest_neighbours(queries, base, k, device=device)
    cosines = queries.astype(np.float64) @ base.T.astype(np.float64)
    expected = np.argsort(-cosines, axis=1)[:, :k]
    found = min(k, rows)
    assert np.array_equal(result.rows[:, :found], expected[:, :found])
    assert np.allclose(result.cosines[:, :found], np.sort(-cosines, axis=1)[:, :found] * -1)
    assert (result.rows[:, found:] == -1).all()
    assert np.isneginf(result.cosines[:, found:]).all()
    assert result.recall == 1


def test_a_map_of_half_precision_serves_as_base(tmp_path, device):
    base = random_unit(0, 90)
    half = np.memmap(tmp_path / "base", np.float16, mode="w+", shape=base.shape)
    half[:] = base
    rows = nearest_neighbours(base[:30], half, 1, device=device).rows
    assert rows[:, 0].tolist() == list(range(30))


def test_above_a_size_an_index_finds_what_it_says(monkeypatch):
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 1_000)
    themes = random_unit(3, 60, 32)
    base = unit(
        themes[np.arange(4_000) % 60] + 0.1 * np.random.default_rng(4).normal(size=(4_000, 32))
    )
    exact = neighbours.exact_neighbours(base, base, 10)[0]
    result = nearest_neighbours(base, base, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, result.rows, strict=True)])
    assert 0.95 <= result.recall < 1
    assert recall > 0.93
    assert (np.diff(result.cosines, axis=1) <= 0).all()
    few = nearest_neighbours(base[:5], base, 10)  # an index would cost more than it saves
    assert few.recall == 1
    assert np.array_equal(few.rows, exact[:5])


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 0.99))
def test_pairs_are_those_of_a_double_loop(seed, threshold):
    vectors = random_unit(seed, 10, 3)
    vectors[3] = vectors[8]
    vectors[5] = 0
    pairs = near_duplicates(vectors, threshold)
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    clear = np.abs(cosines - threshold) > 1e-6
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    for i in range(10):
        for j in range(10):
            if clear[i, j]:
                assert ((i, j) in found) == (i < j and cosines[i, j] >= threshold)
    assert (np.diff(pairs.cosines) <= 0).all()


def test_no_vectors_have_no_pairs():
    assert len(near_duplicates(np.empty((0, 4), np.float32), 0.9).first) == 0
