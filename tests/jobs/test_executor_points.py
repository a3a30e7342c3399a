"""K-means on executors: a plain oracle, and the bytes of one process for every cut of points."""

from types import SimpleNamespace

import numpy as np
import pytest

from producers.topics import points as point_blocks
from producers.topics import seeding
from producers.topics.clustering import best_clustering, best_fit
from producers.topics.kmeans import fit_centres, label_points, spherical_kmeans
from producers.topics.rows import Rows
from vidtopics.errors import ContractError, MachineError, SettingsError
from vidtopics.jobs import executor_points, topic_learning
from vidtopics.jobs.executor_points import FOLDER, on_executors
from vidtopics.jobs.session import session
from vidtopics.settings import Settings, TopicSettings


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def scattered(count=230, width=12, seed=0):
    """Points without clusters, whose Lloyd's steps are many; two of them zero vectors."""
    points = unit(np.random.default_rng(seed).normal(size=(count, width)))
    points[[7, 100]] = 0
    return points


@pytest.fixture
def run(tmp_path):
    tables = SimpleNamespace(bucket=None, home=tmp_path / "home")
    return SimpleNamespace(tables=tables, spark=session("tests"))


@pytest.fixture
def cut(monkeypatch):
    """Cuts points into blocks of that many rows."""

    def blocks_of(rows):
        monkeypatch.setattr(point_blocks, "LEAST_BLOCK_ROWS", rows)
        monkeypatch.setattr(point_blocks, "BLOCK_ROWS_PER_CLUSTER", 0)

    return blocks_of


def on_spark(run, points, clusters, **options):
    with on_executors(run, Rows(points, np.arange(len(points))), clusters) as remote:
        return label_points(remote, fit_centres(remote, clusters, **options))


def assert_same(remote, local):
    assert remote.iterations == local.iterations
    assert np.array_equal(remote.origin, local.origin)
    assert np.array_equal(remote.labels, local.labels)
    assert remote.cosines.tobytes() == local.cosines.tobytes()
    assert remote.centroids.tobytes() == local.centroids.tobytes()


def lloyd(points, centres, iterations):
    """Lloyd's steps in loops; no cluster may become empty."""
    labels = None
    for _ in range(iterations + 1):
        before = labels
        labels = [int(np.argmax([p @ c for c in centres])) if p.any() else -1 for p in points]
        if labels == before:
            break
        last = centres
        centres = [
            unit(sum(p.astype(float) for p, k in zip(points, labels, strict=True) if k == c))
            for c in range(len(centres))
        ]
    return labels, np.array(last if labels != before else centres)


def test_steps_are_those_of_a_loop(run, cut):
    points = scattered()
    cut(100)
    labels, centres = lloyd(points, points[:5], 3)
    clustering = on_spark(run, points, 5, iterations=3, seed=0, initial=points[:5])
    assert clustering.labels.tolist() == labels
    assert np.allclose(clustering.centroids, centres, atol=1e-5)
    assert [k for k, label in enumerate(labels) if label == -1] == [7, 100]


@pytest.mark.parametrize(("rows", "seed"), [(115, 1), pytest.param(60, 2, marks=pytest.mark.slow)])
def test_any_cut_has_the_bytes_of_one_process(run, cut, rows, seed):
    points = scattered(seed=seed)
    cut(rows)
    options = {"iterations": 3, "seed": seed}
    assert_same(on_spark(run, points, 9, **options), spherical_kmeans(points, 9, **options))


def test_steps_end_where_no_label_changes(run):
    points = np.eye(3, dtype=np.float32)[[0, 0, 1, 2, 2, 2]]
    clustering = on_spark(run, points, 3, iterations=10, seed=0)
    assert clustering.iterations == 1
    assert_same(clustering, spherical_kmeans(points, 3, iterations=10, seed=0))


@pytest.mark.slow
def test_a_sample_is_seeded_alike(run, cut, monkeypatch):
    """k-means|| on 8 points a cluster, of half precision, beside centres that are given."""
    points = scattered().astype(np.float16)
    monkeypatch.setattr(seeding, "DIRECT", 20)
    cut(60)
    options = {"iterations": 2, "seed": 4, "initial": unit(points[:2].astype(np.float32))}
    local = spherical_kmeans(points, 12, **options)
    assert_same(on_spark(run, points, 12, **options), local)
    assert local.origin.tolist() == [0, 1] + [-1] * 10


@pytest.mark.slow
def test_empty_clusters_take_the_farthest_points_of_all_blocks(run, cut):
    points = scattered()
    cut(100)
    start = points[[0, 0, 0, 1, 2, 3]]  # of equal centres the first takes all points
    options = {"iterations": 2, "seed": 0, "initial": start}
    local = spherical_kmeans(points, 6, **options)
    assert local.origin.tolist() == [0, -1, -1, 3, 4, 5]
    assert set(local.labels) == {-1, 0, 1, 2, 3, 4, 5}
    assert_same(on_spark(run, points, 6, **options), local)


@pytest.mark.slow
def test_the_best_of_several_seeds_is_that_of_one_process(run, cut):
    points = scattered()
    cut(64)
    options = {"restarts": 2, "iterations": 1, "seed": 7}
    with on_executors(run, Rows(points, np.arange(len(points))), 8) as remote:
        fit = best_fit(remote, 8, **options)
    assert fit.centroids.tobytes() == best_clustering(points, 8, **options).centroids.tobytes()


def test_rows_of_an_array_are_read_by_number(run):
    points = scattered()
    rows = Rows(points, np.random.default_rng(0).permutation(230)[:90])
    options = {"iterations": 1, "seed": 1}
    with on_executors(run, rows, 6) as remote:
        fit = fit_centres(remote, 6, **options)
    assert (
        fit.centroids.tobytes() == spherical_kmeans(rows.take(), 6, **options).centroids.tobytes()
    )


def test_a_training_on_spark_has_the_topics_of_one_process(run, cut, monkeypatch):
    points = scattered(300)
    cut(60)
    lent = []
    real = executor_points.on_executors

    def lend(run, rows, clusters):
        lent.append((rows.count, clusters))
        return real(run, rows, clusters)

    monkeypatch.setattr(executor_points, "on_executors", lend)
    section = TopicSettings(clusters=5, sample=200, restarts=2, iterations=1, target_topics=0)
    on_spark, here = (
        SimpleNamespace(
            settings=Settings(topics=section),
            progress=lambda text: None,
            tables=run.tables,
            spark=run.spark,
            on_spark=spreads,
        )
        for spreads in (True, False)
    )
    topics, others = (
        topic_learning.learn_topics_of(
            of, points, None, None, None, evolves=False, keeps_space=False
        ).topics
        for of in (on_spark, here)
    )
    assert lent == [(200, 5)]
    assert topics.centroids.tobytes() == others.centroids.tobytes()
    assert np.array_equal(topics.sizes, others.sizes)
    cut(200)  # one block, which nobody shares
    learn = topic_learning.learn_topics_of
    learn(on_spark, points, None, None, None, evolves=False, keeps_space=False)
    assert lent == [(200, 5)]


def test_executors_without_the_homes_folder_say_so(run, tmp_path):
    points = scattered()
    with on_executors(run, Rows(points, np.arange(230)), 3) as remote:
        (run.tables.home / FOLDER).rename(tmp_path / "elsewhere")
        message = r"K-means on executors: expected .* a folder that all machines share"
        with pytest.raises(MachineError, match=message):
            fit_centres(remote, 3, iterations=1, seed=0)
        (tmp_path / "elsewhere").rename(run.tables.home / FOLDER)


def test_blocks_leave_the_home_whatever_happens(run):
    points = scattered()
    folder = run.tables.home / FOLDER
    folder.mkdir(parents=True)
    (folder / "000099.npy").write_bytes(b"of a driver that was killed")
    with on_executors(run, Rows(points, np.arange(230)), 3):
        assert [file.name for file in folder.iterdir()] == ["000000.npy"]
    assert not folder.exists()
    with (
        pytest.raises(SettingsError, match=r"topics.clusters: expected at most 228.*found 400"),
        on_executors(run, Rows(points, np.arange(230)), 400) as remote,
    ):
        fit_centres(remote, 400, iterations=1, seed=0)
    points[3] *= 2
    with (
        pytest.raises(ContractError, match="row 3: expected length 1"),
        on_executors(run, Rows(points, np.arange(230)), 3),
    ):
        pass
    assert not folder.exists()
