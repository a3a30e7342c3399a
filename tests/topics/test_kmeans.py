"""Spherical K-means: planted clusters, an oracle of Lloyd's step, empty clusters, zero vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from producers.topics import kmeans, products, seeding
from producers.topics.kmeans import spherical_kmeans
from producers.topics.products import nearest
from vidtopics.errors import ContractError, SettingsError


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def planted(clusters=12, size=40, width=16, spread=0.1, seed=0):
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(clusters, width)))
    truth = np.repeat(np.arange(clusters), size)
    return unit(centres[truth] + spread * rng.normal(size=(len(truth), width))), truth


def test_planted_clusters_are_recovered():
    points, truth = planted()
    clustering = spherical_kmeans(points, 12, iterations=25, seed=0)
    assert adjusted_rand_score(truth, clustering.labels) == 1
    assert np.allclose(np.linalg.norm(clustering.centroids, axis=1), 1, atol=1e-6)
    assert (clustering.origin == -1).all()


def test_as_good_as_scikit_learn_on_points_without_clusters():
    points = unit(np.random.default_rng(1).normal(size=(600, 8)))
    ours = [spherical_kmeans(points, 20, iterations=50, seed=s).cosines.mean() for s in range(3)]
    theirs = []
    for s in range(3):
        peer = KMeans(20, n_init=1, random_state=s).fit(points)
        theirs.append((points * unit(peer.cluster_centers_)[peer.labels_]).sum(axis=1).mean())
    assert np.mean(ours) > np.mean(theirs) - 0.003


def test_one_step_equals_a_loop():
    points, _ = planted(spread=0.6)
    start = points[::48]
    labels = [max(range(len(start)), key=lambda k, p=p: float(p @ start[k])) for p in points]
    means = [
        unit(np.sum([p for p, k in zip(points, labels, strict=True) if k == c], axis=0))
        for c in range(len(start))
    ]
    clustering = spherical_kmeans(points, len(start), iterations=1, seed=0, initial=start)
    assert np.allclose(clustering.centroids, means, atol=1e-6)
    assert clustering.origin.tolist() == list(range(len(start)))


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 15))
def test_result_is_a_fixed_point_and_full(seed, clusters):
    points = unit(np.random.default_rng(seed).normal(size=(60, 5)))
    clustering = spherical_kmeans(points, clusters, iterations=200, seed=seed)
    assert sorted(set(clustering.labels)) == list(range(clusters))  # no cluster is empty
    cosine = points @ clustering.centroids.T
    assert np.allclose(cosine[np.arange(60), clustering.labels], cosine.max(axis=1), atol=1e-5)
    assert np.allclose(clustering.cosines, cosine.max(axis=1), atol=1e-5)
    for cluster in range(clusters):
        assert np.allclose(
            clustering.centroids[cluster],
            unit(points[clustering.labels == cluster].sum(axis=0)),
            atol=1e-4,
        )


def test_zero_vectors_join_no_cluster_and_change_nothing():
    points, _ = planted()
    holes = np.insert(points, [0, 100, 480], 0, axis=0)
    with_zeros, without = (spherical_kmeans(x, 12, iterations=25, seed=3) for x in (holes, points))
    zero = ~holes.any(axis=1)
    assert (with_zeros.labels[zero] == -1).all()
    assert (with_zeros.cosines[zero] == 0).all()
    assert np.array_equal(with_zeros.centroids, without.centroids)
    assert np.array_equal(with_zeros.labels[~zero], without.labels)


def test_an_empty_cluster_takes_the_farthest_point():
    points = unit(np.array([[1, 0.01], [1, -0.01], [1, 0.02], [0, 1], [0.2, 1]]))
    far = unit(np.array([-1.0, -0.2]))
    start = np.stack([points[0], far])  # the second centre is no point's nearest
    clustering = spherical_kmeans(points, 2, iterations=10, seed=0, initial=start)
    assert clustering.origin.tolist() == [0, -1]
    assert clustering.labels.tolist() == [0, 0, 0, 1, 1]


def test_a_point_alone_in_its_cluster_is_not_taken_for_an_empty_one():
    points = unit(np.array([[1, 0.1], [1, 0.5], [-1, 0.1]]))
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    local, before = kmeans.LocalPoints(points), centres.clone()
    sizes = local.label(before).summary.sizes
    labels, cosines = local.labels(before)
    assert labels.tolist() == [0, 0, 1]
    assert np.allclose(
        cosines, [0.995, 0.894, 0.0995], atol=1e-3
    )  # the last is farthest, but alone
    assert kmeans._reseed(local, before, sizes, centres).tolist() == [2]
    assert np.array_equal(centres[2], points[1])


def test_fewer_different_points_than_clusters_leave_clusters_empty():
    points = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    clustering = spherical_kmeans(points, 4, iterations=5, seed=0)
    assert len(set(clustering.labels)) == 2
    assert np.allclose(clustering.cosines, 1)


def test_more_clusters_than_given_centres_are_added_where_points_are_far():
    points, truth = planted(clusters=4)
    known = unit(np.stack([points[truth == c].mean(axis=0) for c in range(3)]))
    clustering = spherical_kmeans(points, 4, iterations=10, seed=0, initial=known)
    assert clustering.origin.tolist() == [0, 1, 2, -1]
    assert np.array_equal(clustering.labels, truth)


def test_plus_plus_is_greedy_and_near_to_the_best_start():
    points, truth = planted()
    hits = [
        len({truth[(points == c.numpy()).all(axis=1)][0] for c in start(points, s)})
        for s in range(20)
    ]
    assert np.mean(hits) > 11.5  # of 12; uniform draws hit 7.8


def start(points, seed):
    x = torch.as_tensor(points)
    known, rng = x[:0], np.random.default_rng(seed)
    return seeding.first_centres(points, np.arange(len(points)), 12, known, rng)


def test_candidates_of_a_sample_start_as_well_as_all_points(monkeypatch):
    """48 planted clusters of 40: k-means|| on 8 points a cluster, then greedy on its candidates."""
    points, truth = planted(clusters=48)
    direct = spherical_kmeans(points, 48, iterations=25, seed=0).cosines.mean()
    monkeypatch.setattr(seeding, "DIRECT", 100)
    sampled = [spherical_kmeans(points, 48, iterations=25, seed=s) for s in range(5)]
    assert np.mean([clustering.cosines.mean() for clustering in sampled]) > direct - 0.005
    assert np.mean([adjusted_rand_score(truth, c.labels) for c in sampled]) > 0.95


def test_candidates_are_drawn_by_distance_and_weigh_their_points():
    points = np.eye(3, dtype=np.float32)[[0] * 90 + [1] * 9 + [2]]
    rng = np.random.default_rng(0)
    chosen, weights = seeding.oversample(torch.as_tensor(points), 2, np.ones(100, np.float32), rng)
    # One a round; what lies on a candidate is never drawn again, and the last is no exception.
    assert sorted(points[chosen].argmax(axis=1)) == [0, 1, 2]
    assert dict(zip(points[chosen].argmax(axis=1).tolist(), weights, strict=True)) == {
        0: 90,
        1: 9,
        2: 1,
    }


def test_few_different_points_leave_clusters_empty_after_sampling_too(monkeypatch):
    monkeypatch.setattr(seeding, "DIRECT", 4)
    points = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    clustering = spherical_kmeans(points, 6, iterations=5, seed=0)
    assert np.allclose(clustering.cosines, 1)
    assert len(set(clustering.labels.tolist())) == 3


def test_a_map_of_half_precision_is_read_in_blocks_and_clustered_alike(tmp_path, monkeypatch):
    points, _ = planted()
    points[5] = 0
    half = np.memmap(tmp_path / "points", np.float16, mode="w+", shape=points.shape)
    half[:] = points
    read = []
    read_rows = kmeans.read_rows

    def count(points, rows, device):
        x = read_rows(points, rows, device)
        read.append(len(x))
        return x

    monkeypatch.setattr(products, "CHUNK_ELEMENTS", 16 * 50)
    monkeypatch.setattr(kmeans, "read_rows", count)
    mapped = spherical_kmeans(half, 12, iterations=25, seed=0)
    assert max(read) <= 50
    assert sum(read) == (mapped.iterations + 1) * 479  # one pass a step, and one at first
    exact = spherical_kmeans(points, 12, iterations=25, seed=0)
    assert np.array_equal(mapped.labels, exact.labels)
    assert mapped.labels[5] == -1
    assert np.allclose(mapped.centroids, exact.centroids, atol=1e-3)
    assert np.allclose(np.linalg.norm(mapped.centroids, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("add", [kmeans._add, kmeans._add_sorted])
def test_sums_are_those_of_a_loop_on_either_device(add):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(50, 600)).astype(np.float32), rng.integers(0, 7, 50)
    labels[labels == 3] = 4
    expected = rng.normal(size=(7, 600))
    sums = torch.from_numpy(expected.copy())
    for row, label in zip(x, labels, strict=True):
        expected[label] += row.astype(np.float64)
    add(sums, torch.from_numpy(x), torch.from_numpy(labels))
    assert np.allclose(sums, expected, atol=1e-12)


def test_sums_of_many_points_keep_their_precision():
    """Float32 sums of that many equal terms are off in the third digit."""
    rows = 2**17
    points = np.repeat(np.array([[0.6, 0.8]], np.float32), rows, axis=0)
    start = np.array([[1, 0]], np.float32)
    clustering = spherical_kmeans(points, 1, iterations=1, seed=0, initial=start)
    assert np.allclose(clustering.centroids, [[0.6, 0.8]], atol=1e-7)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([2, 64, 700]))
def test_either_product_type_gives_the_answer_of_double_precision(seed, clusters, width):
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(clusters, width)))
    near = unit(centres[rng.integers(clusters, size=40)] + 0.002 * rng.normal(size=(40, width)))
    points = np.concatenate([near, unit(rng.normal(size=(40, width))), centres])
    x, y = points.astype(np.float64), centres.astype(np.float64)
    exact = (x @ y.T) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    for is_half, name in ((False, "float32"), (True, "bfloat16")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(products, "has_bfloat16_units", lambda is_half=is_half: is_half)
            assert products.product_type("cpu") == name
            labels, cosines = nearest(torch.as_tensor(points), torch.as_tensor(centres))
        assert np.array_equal(labels, exact.astype(np.float32).argmax(axis=1))
        assert np.array_equal(cosines, exact.astype(np.float32).max(axis=1))


def test_bfloat16_alone_would_err():
    """What the test above would not see if its points were too easy."""
    x, centres = (
        torch.as_tensor(unit(np.random.default_rng(s).normal(size=(200, 700)))) for s in (0, 1)
    )
    rough = (x.bfloat16() @ centres.bfloat16().T).argmax(dim=1)
    assert (rough != nearest(x, centres)[0]).any()
    assert (rough != (x @ centres.T).argmax(dim=1)).any()


def test_same_seed_same_bytes_and_chunks_only_round(monkeypatch):
    points, _ = planted(spread=0.5)
    one, two = (spherical_kmeans(points, 12, iterations=25, seed=5) for _ in range(2))
    assert one.centroids.tobytes() == two.centroids.tobytes()
    monkeypatch.setattr(products, "CHUNK_ELEMENTS", 12 * 7)
    small = spherical_kmeans(points, 12, iterations=25, seed=5)
    assert np.array_equal(small.labels, one.labels)
    assert np.allclose(small.centroids, one.centroids, atol=1e-5)
    assert not np.array_equal(
        spherical_kmeans(points, 12, iterations=25, seed=6).centroids, one.centroids
    )


def test_nearest_breaks_ties_by_the_first():
    x = torch.tensor([[1.0, 0.0]])
    assert nearest(x, torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))[0].tolist() == [1]


def test_bad_input_is_named():
    points, _ = planted()
    with pytest.raises(SettingsError, match=r"topics.clusters: expected at most 480.*found 481"):
        spherical_kmeans(points, 481, iterations=1, seed=0)
    points[7] *= 2
    with pytest.raises(ContractError, match=r"row 7: expected length 1, .* found 2"):
        spherical_kmeans(points, 3, iterations=1, seed=0)
    points[7] = np.nan
    with pytest.raises(ContractError, match="row 7"):
        spherical_kmeans(points, 3, iterations=1, seed=0)
