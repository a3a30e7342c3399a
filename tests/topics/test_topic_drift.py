"""When a training is due: each figure at its limit and beyond."""

from datetime import timedelta

import numpy as np
import pytest

from producers.topics.drift import DriftFigures, TrainedFigures, criteria, drift
from vidtopics.settings import TopicSettings

SETTINGS = TopicSettings(
    least_cosine=0.5, most_below_threshold=0.25, most_new_tags=0.125, most_age=timedelta(days=7)
)
AT_LIMITS = DriftFigures(0.25, 0.5, 0.5, 0.25, 0.125, 1.99, timedelta(days=7))


def reasons(figures: DriftFigures) -> list[str]:
    return [criterion.text for criterion in criteria(figures, SETTINGS) if criterion.exceeded]


def test_at_its_limits_a_training_is_not_due():
    assert reasons(AT_LIMITS) == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("cosine", 0.249, "cosine .249 of .500 (at least .250)"),
        ("below_threshold", 0.51, "below threshold 51.0%, 25.0% at the training (at most 50.0%)"),
        ("new_tags", 0.13, "new tags 13.0% (at most 12.5%)"),
        ("growth", 2.0, "growth 2.0 since the space was learned (below 2.0)"),
        ("age", timedelta(days=7, hours=12), "age 7.5 days (at most 7.0)"),
    ],
)
def test_each_figure_beyond_its_limit_is_a_reason(name, value, reason):
    assert reasons(AT_LIMITS._replace(**{name: value})) == [reason]


def test_a_home_without_videos_and_tags_has_not_drifted():
    none = np.empty(0)
    figures = drift(
        TrainedFigures(0.7, 0.2),
        none,
        none.astype(bool),
        tags=0,
        new_tags=0,
        growth=0,
        age=timedelta(0),
    )
    assert figures == DriftFigures(0.7, 0.7, 0.2, 0.2, 0.0, 0, timedelta(0))
