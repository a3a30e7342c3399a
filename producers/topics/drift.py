"""How far the catalogue has moved away from what was trained, and whether that is too far."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidtopics.settings import TopicSettings


class TrainedFigures(NamedTuple):
    """What a training left: mean cosine of videos to their centre, share below the threshold."""

    cosine: float
    below_threshold: float


class DriftFigures(NamedTuple):
    """What has changed since the last training.

    Attributes:
        cosine: mean cosine of videos to their nearest centre.
        trained_cosine: the same after the last training.
        below_threshold: share of videos without a topic within the threshold.
        trained_below_threshold: the same after the last training.
        new_tags: share of the videos' tags that the last training has no vector of.
        growth: videos that train now, or tags given to them, of those that the space was learned
            from: the greater of both shares.
        age: time since the last training.
    """

    cosine: float
    trained_cosine: float
    below_threshold: float
    trained_below_threshold: float
    new_tags: float
    growth: float
    age: timedelta


def drift(
    trained: TrainedFigures,
    weights: NDArray[np.float32],
    below_threshold: NDArray[np.bool_],
    *,
    tags: int,
    new_tags: int,
    growth: float,
    age: timedelta,
) -> DriftFigures:
    """Compare topics as they are assigned now with those after the last training.

    Args:
        trained: figures of the training.
        weights: float32[N], cosine to the nearest centre, of videos that have a representation.
        below_threshold: bool[N] of the same videos.
        tags: pairs of video and tag now.
        new_tags: those of them whose tag has no trained vector.
        growth: videos that train, or tags given to them, of those the space was learned from.
        age: time since the training's as-of time.

    >>> figures = drift(TrainedFigures(0.8, 0.1), np.array([0.9, 0.5], np.float32),
    ...     np.array([False, True]), tags=40, new_tags=1, growth=1.5, age=timedelta(days=2))
    >>> [round(x, 3) for x in (figures.cosine, figures.below_threshold, figures.new_tags)]
    [0.7, 0.5, 0.025]
    """
    return DriftFigures(
        float(weights.mean(dtype=np.float64)) if len(weights) else trained.cosine,
        trained.cosine,
        float(below_threshold.mean()) if len(weights) else trained.below_threshold,
        trained.below_threshold,
        new_tags / tags if tags else 0.0,
        growth,
        age,
    )


class Criterion(NamedTuple):
    """One of the figures beside its limit, in words, and whether it is beyond."""

    text: str
    exceeded: bool


def criteria(figures: DriftFigures, settings: TopicSettings) -> list[Criterion]:
    """All figures beside their limits, as `train topics --if-needed` prints them.

    >>> figures = DriftFigures(0.71, 0.72, 0.12, 0.1, 0.08, 1.5, timedelta(days=3))
    >>> for criterion in criteria(figures, TopicSettings()):
    ...     print(criterion.exceeded, criterion.text)
    False cosine .710 of .720 (at least .684)
    False below threshold 12.0%, 10.0% at the training (at most 15.0%)
    True new tags 8.0% (at most 5.0%)
    False growth 1.5 since the space was learned (below 2.0)
    False age 3.0 days (at most 30.0)
    """
    least = settings.least_cosine * figures.trained_cosine
    most = figures.trained_below_threshold + settings.most_below_threshold
    days, most_days = (t / timedelta(days=1) for t in (figures.age, settings.most_age))
    cosine, trained, lowest = (
        f"{x:.3f}".replace("0.", ".") for x in (figures.cosine, figures.trained_cosine, least)
    )
    return [
        Criterion(f"cosine {cosine} of {trained} (at least {lowest})", figures.cosine < least),
        Criterion(
            f"below threshold {figures.below_threshold:.1%}, "
            f"{figures.trained_below_threshold:.1%} at the training (at most {most:.1%})",
            figures.below_threshold > most,
        ),
        Criterion(
            f"new tags {figures.new_tags:.1%} (at most {settings.most_new_tags:.1%})",
            figures.new_tags > settings.most_new_tags,
        ),
        Criterion(
            f"growth {figures.growth:.1f} since the space was learned "
            f"(below {settings.relearn_growth:.1f})",
            1 < figures.growth >= settings.relearn_growth,
        ),
        Criterion(
            f"age {days:.1f} days (at most {most_days:.1f})", figures.age > settings.most_age
        ),
    ]
