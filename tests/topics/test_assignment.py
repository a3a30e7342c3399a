"""Assignment against a loop in plain Python, with ties, pads, thresholds and batches."""

import math

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.topics import assignment as assignments
from producers.topics import products, settling
from producers.topics.assignment import assign
from producers.topics.products import Products
from producers.topics.settling import settle_few
from producers.topics.settling_kernel import settle


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def random_unit(seed, rows, width=6):
    return unit(np.random.default_rng(seed).normal(size=(rows, width)))


def oracle(vector, centroids, ids, threshold, slots=8):
    if not any(vector):
        return [-1] * slots, [0.0] * slots, 0, True
    length = math.sqrt(math.fsum(float(v) ** 2 for v in vector))
    scored = []
    for topic, centre in zip(ids, centroids, strict=True):
        norm = length * math.sqrt(math.fsum(float(c) ** 2 for c in centre))
        cosine = math.fsum(float(v) * float(c) for v, c in zip(vector, centre, strict=True)) / norm
        scored.append((-float(np.float32(cosine)), int(topic)))
    scored.sort()
    near = [(topic, -minus) for minus, topic in scored if -minus >= float(np.float32(threshold))][
        :slots
    ]
    used = near or [(scored[0][1], -scored[0][0])]
    pad = slots - len(used)
    return (
        [t for t, _ in used] + [-1] * pad,
        [w for _, w in used] + [0.0] * pad,
        len(used),
        not near,
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.floats(-1, 1))
def test_equals_the_oracle(seed, clusters, threshold):
    a, centroids = random_unit(seed, 9), random_unit(seed + 1, clusters)
    a[4] = 0
    ids = np.random.default_rng(seed).permutation(100)[:clusters]
    assignment = assign(a, centroids, ids, threshold)
    for row in range(9):
        topics, weights, count, below = oracle(a[row], centroids, ids, threshold)
        assert assignment.topic_ids[row].tolist() == topics
        assert assignment.topic_weights[row].tolist() == weights
        assert (assignment.topic_count[row], assignment.below_threshold[row]) == (count, below)
    dtypes = [x.dtype for x in assignment]
    assert dtypes == [np.int64, np.float32, np.int64, np.bool_]


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5))
def test_each_video_is_held_to_its_own_threshold(seed, thresholds):
    a, centroids, ids = random_unit(seed, 5), random_unit(seed + 1, 12), np.arange(12)
    together = assign(a, centroids, ids, np.array(thresholds, np.float32))
    for row, threshold in enumerate(thresholds):
        alone = assign(a[[row]], centroids, ids, threshold)
        for column, value in zip(together, alone, strict=True):
            assert np.array_equal(column[[row]], value)


@given(st.permutations(range(20)))
def test_ties_go_to_the_smaller_id_also_at_the_last_slot(order):
    """Twenty centroids, ten of them twice: equal cosines throughout, and eight slots for twenty."""
    centroids = np.repeat(np.eye(10, dtype=np.float32), 2, axis=0)[order]
    a = unit(np.ones((1, 10)))
    ids = np.random.default_rng(0).permutation(20)
    assert assign(a, centroids, ids, 0.1).topic_ids[0].tolist() == list(range(8))
    twins = sorted(ids[[order.index(6), order.index(7)]])
    assert assign(np.eye(10, dtype=np.float32)[[3]], centroids, ids, 0.5).topic_ids[
        0, :3
    ].tolist() == [*twins, -1]


def test_threshold_is_inclusive_and_none_within_it_gives_the_nearest():
    a, centroids = unit(np.array([[0.6, 0.8]])), np.eye(2, dtype=np.float32)
    cosine = float(a[0, 0])
    assert assign(a, centroids, np.array([1, 2]), cosine).topic_count.tolist() == [2]
    above = float(np.nextafter(np.float32(cosine), np.float32(1)))
    assert assign(a, centroids, np.array([1, 2]), above).topic_count.tolist() == [1]
    alone = assign(a, centroids, np.array([1, 2]), 0.9)
    assert alone.topic_ids[0].tolist() == [2, *[-1] * 7]
    assert alone.topic_weights[0].tolist() == [a[0, 1], *[0] * 7]
    assert (alone.topic_count.tolist(), alone.below_threshold.tolist()) == ([1], [True])


@given(st.integers(0, 2**32 - 1))
def test_centroids_that_products_cannot_tell_apart(seed):
    """Their cosines differ in the seventh digit; more of them than slots."""
    rng = np.random.default_rng(seed)
    a, centre = random_unit(seed, 3, 300), random_unit(seed + 1, 1, 300)
    centroids = unit(centre + 3e-7 * rng.normal(size=(40, 300)))
    ids = rng.permutation(40)
    expected = [oracle(a[row], centroids, ids, -1)[:2] for row in range(3)]
    for small, is_half in ((assignments.SMALL, False), (0, False), (0, True)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(assignments, "SMALL", small)
            patch.setattr(products, "has_bfloat16_units", lambda is_half=is_half: is_half)
            assignment = assign(a, centroids, ids, -1)
        for row, (topics, weights) in enumerate(expected):
            assert assignment.topic_ids[row].tolist() == topics
            assert assignment.topic_weights[row].tolist() == weights


def test_batches_and_chunks_change_no_byte(monkeypatch):
    a, centroids, ids = random_unit(0, 301, 64), random_unit(1, 150, 64), np.arange(150)
    whole = assign(a, centroids, ids, 0.1)
    parts = [assign(part, centroids, ids, 0.1) for part in np.array_split(a, 7)]
    monkeypatch.setattr(products, "CHUNK_ELEMENTS", 1000)
    chunked = assign(a, centroids, ids, 0.1)
    monkeypatch.setattr(assignments, "SMALL", 0)
    by_torch = assign(a, centroids, ids, 0.1)
    for column, value in enumerate(whole):
        assert (
            np.concatenate([p[column] for p in parts]).tobytes()
            == chunked[column].tobytes()
            == by_torch[column].tobytes()
            == value.tobytes()
        )


def test_order_of_centroids_does_not_matter():
    a, centroids, ids = random_unit(0, 50), random_unit(1, 40), np.arange(40)
    shuffled = np.random.default_rng(0).permutation(40)
    for one, two in zip(
        assign(a, centroids, ids, 0.2),
        assign(a, centroids[shuffled], ids[shuffled], 0.2),
        strict=True,
    ):
        assert np.array_equal(one, two)


def test_agrees_with_faiss():
    a, centroids = random_unit(2, 200, 32), random_unit(3, 90, 32)
    index = faiss.IndexFlatIP(32)
    index.add(centroids)
    weights, topics = index.search(a, 8)
    assignment = assign(a, centroids, np.arange(90), -1)
    assert np.array_equal(assignment.topic_ids, topics)
    assert np.allclose(assignment.topic_weights, weights, atol=1e-6)


def both_ways(x, centres, count):
    """What the kernel gives for all rows; what numpy gives, and for which rows it is certain."""
    prepared = Products(centres)
    bits = (x @ prepared.transposed).view(np.int32)
    answers = []
    for fill in (settle, settle_few):
        rank, cosine = np.zeros((len(x), count), np.int64), np.full((len(x), count), -np.inf)
        rows = bits if fill is settle else bits.view(np.float32)
        filled = rank, cosine.astype(np.float32)
        settled = fill(x, centres, prepared.norms, rows, prepared.margin, *filled)
        answers.append(filled)
    return *answers, settled


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 9), st.integers(1, 90))
def test_numpy_gives_the_kernel_s_bytes_for_the_rows_that_it_settles(seed, clusters, count, width):
    rng = np.random.default_rng(seed)
    x, centres = random_unit(seed, 30, width), random_unit(seed + 1, clusters, width)
    x[0] = 0
    ties = rng.integers(-1, 2, (3, width))
    ties[:, 0] = 1
    x[1:4] = unit(ties)
    centres[rng.integers(clusters)] = centres[0]
    by_kernel, by_numpy, settled = both_ways(x, centres, count)
    for a, b in zip(by_kernel, by_numpy, strict=True):
        assert a[settled].tobytes() == b[settled].tobytes()
    together = Products(centres).greatest(x, count)
    assert [a.tobytes() for a in together] == [a.tobytes() for a in by_kernel]


def test_a_cosine_that_another_order_of_addition_might_round_otherwise_is_left_to_the_kernel():
    """(1, 1) and (1, -1): the terms cancel, and what is left of them hangs on the order."""
    x = unit(np.array([[1.0, 1.0], [1.0, 0.0]]))
    _, _, settled = both_ways(x, unit(np.array([[1.0, -1.0]])), 1)
    assert settled.tolist() == [False, True]


def test_too_many_terms_for_numpy_are_the_kernel_s(monkeypatch):
    x, centres = random_unit(0, 40), random_unit(1, 30)
    few = Products(centres).greatest(x, 8)
    monkeypatch.setattr(settling, "ELEMENTS", 40 * 6)
    assert not both_ways(x, centres, 8)[2].any()
    assert [a.tobytes() for a in Products(centres).greatest(x, 8)] == [a.tobytes() for a in few]
