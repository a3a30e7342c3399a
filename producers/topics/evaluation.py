"""How well representations cluster: Table I (ARI and NMI), Fig. 3 (distance ratios)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from producers.topics.kmeans import check_points, spherical_kmeans
from vidtopics.errors import ContractError, TableError, explain

Level = Literal["primary", "secondary"]
Metric = Literal["ari", "nmi"]
METRICS: Mapping[Metric, Callable[..., float]] = {
    "ari": adjusted_rand_score,
    "nmi": normalized_mutual_info_score,
}
HALF_SAMPLES = 100
LLOYD_STEPS = 100


class Estimate(NamedTuple):
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float


class Scores(NamedTuple):
    """Table I.

    Attributes:
        scores: (features, level, metric) -> mean over trainings and clusterings; a t interval over
            trainings.
        differences: (features, later features, level, metric) -> the later mean less the earlier;
            an interval over videos, clusterings and trainings together.
    """

    scores: dict[tuple[str, Level, Metric], Estimate]
    differences: dict[tuple[str, str, Level, Metric], Estimate]


def representation_scores(
    trainings: Sequence[Mapping[str, NDArray[np.float32]]],
    classes: Mapping[Level, NDArray[np.int64]],
    *,
    clusters: Mapping[Level, int],
    clusterings: int,
    seed: int,
) -> Scores:
    """Table I: cluster features with K = number of classes, and compare with the classes.

    ARI and NMI are scikit-learn's, in -0.5..1 and 0..1 (the paper's 237% can't be either).
    Clustering is spherical K-means; videos with a zero vector form one further cluster, so that all
    features are judged on the same videos.

    A difference varies with the videos that happen to be held out and with the training. The first
    part comes from paired half-samples: features are compared on the same halves of the videos,
    drawn without replacement, each with another clustering's seed. A half-sample of n/2 out of n
    spreads as the whole does around the truth (Politis and Romano 1994); a bootstrap would not do,
    as its copies of a video share cluster and class and lift ARI. The second is a t interval over
    the trainings. The two are added in quadrature.

    Args:
        trainings: of each training, name -> float32[N, D], rows of length 1 or zero, in the order
            of the columns; at least 2.
        classes: level -> int64[N], one class a video.
        clusters: level -> K, classes in the whole data set (paper, IV-C); videos may miss some.
        clusterings: of each training, with seeds of their own.
        seed: the seeds are seed, seed + 1, ...

    Raises:
        ContractError: features and classes differ in length.
        TableError: the videos of a level are all of one class, with which any clustering agrees.

    >>> classes = {"primary": np.array([0, 0, 1, 1])}
    >>> unit = np.eye(2, dtype=np.float32)
    >>> features = {"bad": unit[[0, 1, 0, 1]], "good": unit[[0, 0, 1, 1]]}
    >>> table = representation_scores(
    ...     [features, features], classes, clusters={"primary": 2}, clusterings=1, seed=0)
    >>> difference = table.differences["bad", "good", "primary", "nmi"]
    >>> table.scores["good", "primary", "ari"].mean, difference.mean
    (1.0, 1.0)
    """
    for features in trainings:
        _check(features, classes)
    scores: dict[tuple[str, Level, Metric], Estimate] = {}
    differences: dict[tuple[str, str, Level, Metric], Estimate] = {}
    for level, truth in classes.items():
        labels = {  # int64[trainings, clusterings, N]
            name: np.stack(
                [
                    _clusterings(f[name], clusters[level], clusterings, seed + r * clusterings)
                    for r, f in enumerate(trainings)
                ]
            )
            for name in trainings[0]
        }
        for metric in METRICS:
            whole = {name: _measure(metric, truth, of_name) for name, of_name in labels.items()}
            halves = {name: _halves(metric, truth, x, seed) for name, x in labels.items()}
            for name, values in whole.items():
                scores[name, level, metric] = _estimate(values, 0.0)
            for a, b in combinations(labels, 2):
                spread = float((halves[b] - halves[a]).std(ddof=1))
                differences[a, b, level, metric] = _estimate(whole[b] - whole[a], spread)
    return Scores(scores, differences)


def distance_ratios(
    points: NDArray[np.float32], clusters: int, *, clusterings: int, seed: int
) -> NDArray[np.float64]:
    """Fig. 3: mean inter-class over mean intra-class distance, float64[clusterings], one a seed.

    The paper doesn't define the distances. Here: Euclidean between unit vectors; inter is the mean
    over pairs of centroids, intra the mean over videos to their own centroid. Greater is more
    discriminative. Zero vectors are left out. A ratio depends on `clusters`: compare at one K only.

    Raises:
        SettingsError: there are fewer points than clusters.
        TableError: every point lies on its centre, as where all are equal.

    >>> points = np.array([[1, 0], [0.8, 0.6], [-1, 0], [-0.8, 0.6]], np.float32)
    >>> distance_ratios(points, 2, clusterings=2, seed=0).round(3).tolist()  # 1.89737 / 0.32036
    [5.923, 5.923]
    """
    ratios = []
    for s in range(seed, seed + clusterings):
        clustering = spherical_kmeans(points, clusters, iterations=LLOYD_STEPS, seed=s)
        inter = _chord(
            (clustering.centroids @ clustering.centroids.T)[np.triu_indices(clusters, k=1)]
        ).mean()
        intra = _chord(clustering.cosines[clustering.labels >= 0]).mean()
        if intra < 1e-3:  # of float32 cosines: equal vectors differ by rounding
            raise TableError(
                explain(
                    "Fig. 3",
                    expected="videos that differ from their centre",
                    found=f"{len(points)} on {clusters} centres",
                    mend="add videos",
                )
            )
        ratios.append(inter / intra)
    return np.array(ratios)


def _clusterings(
    x: NDArray[np.float32], clusters: int, clusterings: int, seed: int
) -> NDArray[np.int64]:
    """int64[clusterings, N]."""
    seeds = range(seed, seed + clusterings)
    return np.stack(
        [spherical_kmeans(x, clusters, iterations=LLOYD_STEPS, seed=s).labels for s in seeds]
    )


def _measure(
    metric: Metric, truth: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The metric of each training, the mean over its clusterings: float64[R] of int64[R, C, N]."""
    return np.array([np.mean([METRICS[metric](truth, x) for x in of_one]) for of_one in labels])


def _halves(
    metric: Metric, truth: NDArray[np.int64], labels: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """The metric on half-samples, the same for every representation: float64[HALF_SAMPLES].

    Each is the mean over trainings, as the whole is: what is left varies with the videos.
    """
    rng = np.random.default_rng(seed)
    values = np.empty(HALF_SAMPLES)
    for i in range(HALF_SAMPLES):
        half = rng.permutation(len(truth))[: len(truth) // 2]
        clusterings = labels[:, i % labels.shape[1]]
        values[i] = np.mean([METRICS[metric](truth[half], x[half]) for x in clusterings])
    return values


def _estimate(of_trainings: NDArray[np.float64], spread: float) -> Estimate:
    """The mean of float64[R], with a t interval over R and 1.96 `spread` beside it."""
    count = len(of_trainings)
    error = of_trainings.std(ddof=1) / np.sqrt(count)
    margin = float(np.hypot(student.ppf(0.975, count - 1) * error, 1.96 * spread))
    mean = float(of_trainings.mean())
    return Estimate(mean, mean - margin, mean + margin)


def _chord(cosine: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of unit vectors: sqrt(2 (1 - cosine))."""
    return np.sqrt(np.maximum(2 - 2 * cosine.astype(np.float64), 0))


def _check(
    features: Mapping[str, NDArray[np.float32]], classes: Mapping[Level, NDArray[np.int64]]
) -> None:
    lengths = {name: len(x) for name, x in features.items()} | {
        str(level): len(y) for level, y in classes.items()
    }
    if len(set(lengths.values())) > 1:
        raise ContractError(
            explain(
                "representation_scores",
                expected="the same videos in all features and classes",
                found=", ".join(f"{name}: {n}" for name, n in lengths.items()),
                mend="join them by video first",
            )
        )
    for level, truth in classes.items():
        if len(np.unique(truth)) < 2:
            raise TableError(
                explain(
                    f"Table I, {level} classes",
                    expected="at least 2 classes",
                    found=str(len(np.unique(truth))),
                    mend="leave this level out, or add videos of other classes",
                )
            )
    for rows in features.values():
        check_points(rows)
