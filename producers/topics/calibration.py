"""How much the tag block counts beside the joint block, chosen on videos that train (III-A3).

The paper gives both the same weight. Where tags describe attributes (colour, department) rather
than content, that ruins the clusters; where they describe content, any weight near 1 is as good. So
the weight is chosen by how well clusters agree with the classes of videos that train, each of them
represented by a model that has not seen it, and stays 1 where nothing is better beyond noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from producers.topics.evaluation import METRICS, Level
from producers.topics.kmeans import spherical_kmeans
from producers.topics.space import TopicSpace

RATIOS = 2.0 ** np.arange(-3, 1.5, 0.5)
"""Weights of the tag block beside 1 for the joint block, from next to nothing to twice as much."""
EQUAL = int(np.flatnonzero(RATIOS == 1)[0])
LEAST_VIDEOS = 1_000
"""With fewer, the best of the weights scatters over the whole range (460 to 660: measured)."""
MOST_VIDEOS = 2_000
"""Of each fold; more make clusterings slower and the curve no smoother."""
CLUSTERINGS = 6
HALF_SAMPLES = 60
LLOYD_STEPS = 30
BANDWIDTH = 2.0
"""Of the smoothing, in doublings of the weight: three neighbours on either side."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Videos that train, with joint blocks of a model trained on the other folds.

    Attributes:
        tag: float32[N, d], e-bar of Eq. 4.
        joint: float32[N, D], z of Eq. 1.
        has_tag: bool[N].
        has_joint: bool[N].
        classes: level -> int64[N], a class a video; -1: none, the video is left out at that level.
    """

    tag: NDArray[np.float32]
    joint: NDArray[np.float32]
    has_tag: NDArray[np.bool_]
    has_joint: NDArray[np.bool_]
    classes: Mapping[Level, NDArray[np.int64]]


class Point(NamedTuple):
    """One weight of the tag block.

    Attributes:
        tag_weight: beside 1 for the joint block.
        score: mean of ARI and NMI over levels, folds and clusterings.
        smooth: the same on the smoothed curve, whose optimum counts.
        low, high: 95% interval of the smoothed score less that at equal weights.
    """

    tag_weight: float
    score: float
    smooth: float
    low: float
    high: float


class Calibration(NamedTuple):
    """The space that was chosen, the curve that it was chosen by (empty: not measured), and why."""

    space: TopicSpace
    curve: tuple[Point, ...]
    reason: str


def calibrate_space(
    folds: Sequence[Fold], tag_mean: NDArray[np.float32], *, seed: int, device: str = "cpu"
) -> Calibration:
    """Choose the tag block's weight by the classes of cross-fitted videos that train.

    For each of :data:`RATIOS` the videos of each fold are clustered :data:`CLUSTERINGS` times with
    K = their classes, and scored by the mean of ARI and NMI over levels. The curve over the
    logarithm of the weight is smoothed by local quadratics (Cleveland 1979, with tricube weights),
    since single points scatter more than neighbours differ. Its optimum is chosen if it beats equal
    weights on paired half-samples of the videos beyond the 95% interval.

    Args:
        folds: never held-out videos; one fold can't be compared with another fold's coordinates, so
            each is clustered by itself.
        tag_mean: float32[d], frozen with the space.
        seed: of samples and clusterings.
        device: where torch computes.

    >>> same = TopicSpace(np.zeros(2, np.float32))
    >>> calibrate_space([], same.tag_mean, seed=0).reason
    'equal weights: 0 videos with classes, 1,000 are needed to choose'
    """
    rng = np.random.default_rng(seed)
    samples = [sample for fold in folds if (sample := _sample(fold, rng)) is not None]
    videos = sum(len(fold.tag) for fold in samples)
    if videos < LEAST_VIDEOS:
        reason = (
            f"equal weights: {videos:,} videos with classes, {LEAST_VIDEOS:,} are needed to choose"
        )
        return Calibration(TopicSpace(tag_mean), (), reason)
    whole, halves = _scores(samples, tag_mean, seed, device)
    smoother = local_quadratics(np.log2(RATIOS), BANDWIDTH)
    smooth = smoother @ whole
    gains = halves @ smoother.T
    gains -= gains[:, [EQUAL]]
    margin = 1.96 * gains.std(axis=0, ddof=1)
    gain = smooth - smooth[EQUAL]
    best = int(np.argmax(smooth))
    chosen = best if gain[best] > margin[best] else EQUAL
    columns = (RATIOS, whole, smooth, gain - margin, gain + margin)
    curve = tuple(Point(*map(float, point)) for point in zip(*columns, strict=True))
    weight = f"{RATIOS[best]:.2g}"
    change = f"{gain[best]:+.4f} ± {margin[best]:.4f} in the mean of ARI and NMI"
    reason = (
        "equal weights: the smoothed curve's optimum"
        if best == EQUAL
        else f"tag block {weight} times the joint block: {change} on {videos:,} videos"
        if chosen == best
        else f"equal weights: {weight} is better only within its interval ({change})"
    )
    return Calibration(TopicSpace(tag_mean, float(RATIOS[chosen]), 1.0), curve, reason)


def local_quadratics(x: NDArray[np.float64], bandwidth: float) -> NDArray[np.float64]:
    """The matrix [P, P] that smooths values at float64[P] places by local quadratic regression.

    A quadratic is kept as it is, and its optimum with it.

    >>> x = np.arange(6.0)
    >>> np.allclose(local_quadratics(x, 3.5) @ (2 - 3 * x + x**2), 2 - 3 * x + x**2)
    True
    """
    smoother = np.empty((len(x), len(x)))
    for row, place in enumerate(x):
        distance = np.abs(x - place) / bandwidth
        weight = np.sqrt(np.clip(1 - distance**3, 0, None) ** 3)
        design = np.vander(x - place, 3, increasing=True) * weight[:, None]
        smoother[row] = np.linalg.pinv(design)[0] * weight
    return smoother


def _sample(fold: Fold, rng: np.random.Generator) -> Fold | None:
    """At most MOST_VIDEOS of the videos that have a block and a class; None where classes lack."""
    usable = np.flatnonzero(
        (fold.has_tag | fold.has_joint)
        & np.any([of_videos >= 0 for of_videos in fold.classes.values()], axis=0)
    )
    rows = np.sort(rng.permutation(usable)[:MOST_VIDEOS])
    classes = {
        level: of_videos[rows]
        for level, of_videos in fold.classes.items()
        if 2 <= len(np.unique(of_videos[rows][of_videos[rows] >= 0])) < len(rows)
    }
    if not classes:
        return None
    return Fold(fold.tag[rows], fold.joint[rows], fold.has_tag[rows], fold.has_joint[rows], classes)


def _scores(
    folds: Sequence[Fold], tag_mean: NDArray[np.float32], seed: int, device: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean scores float64[P] of all videos, and float64[HALF_SAMPLES, P] of paired half-samples."""
    whole, halves = np.zeros(len(RATIOS)), np.zeros((HALF_SAMPLES, len(RATIOS)))
    for column, ratio in enumerate(RATIOS):
        space = TopicSpace(tag_mean, float(ratio), 1.0)
        for number, fold in enumerate(folds):
            a = space.represent(fold.tag, fold.joint, fold.has_tag, fold.has_joint)
            on_all, on_halves = _agreement(a, fold.classes, seed + 1_000 * number, device)
            whole[column] += on_all / len(folds)
            halves[:, column] += on_halves / len(folds)
    return whole, halves


def _agreement(
    a: NDArray[np.float32], classes: Mapping[Level, NDArray[np.int64]], seed: int, device: str
) -> tuple[float, NDArray[np.float64]]:
    """The mean of ARI and NMI over levels and clusterings, on all rows and on half-samples."""
    on_all, on_halves = [], np.zeros(HALF_SAMPLES)
    for truth in classes.values():
        clusters = len(np.unique(truth[truth >= 0]))
        labels = [
            spherical_kmeans(
                a,
                min(clusters, int(a.any(axis=1).sum())),
                iterations=LLOYD_STEPS,
                seed=s,
                device=device,
            ).labels
            for s in range(seed, seed + CLUSTERINGS)
        ]
        has_class = np.flatnonzero(truth >= 0)
        on_all += [_mean_score(truth[has_class], assigned[has_class]) for assigned in labels]
        rng = np.random.default_rng(seed)
        for i in range(HALF_SAMPLES):
            half = rng.permutation(has_class)[: len(has_class) // 2]
            on_halves[i] += _mean_score(truth[half], labels[i % CLUSTERINGS][half]) / len(classes)
    return float(np.mean(on_all)), on_halves


def _mean_score(truth: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return float(np.mean([metric(truth, labels) for metric in METRICS.values()]))
