"""Ranking models, and what they are judged by."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from vidtopics.settings.section import Positive, Section


class RankingSettings(Section):
    """Ranking models and the frame that they are trained on (III-B2, IV-D)."""

    label_window: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(days=1)
    """A click counts within this time; a training row exists once it has passed."""
    history: Positive = 100
    """Earlier impressions of a user that a model sees at most, newest first."""
    model: Literal["lr", "emlp", "wide_and_deep", "dcn", "din"] = "wide_and_deep"
    """What `vidtopics train ranking` trains and `recommend` ranks with."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models are trained; auto: on a GPU where there is one."""
    embedding_width: Positive = 16
    """Of videos and users."""
    topic_width: Positive = 8
    """Of a topic (paper, IV-D)."""
    table_rows: Annotated[int, Field(ge=2)] = 2**18
    """Of an embedding table at most; more users or videos than that share rows by a hash."""
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 32)
    cross_layers: Positive = 2
    """Of DCN."""
    epochs: Positive = 6
    """At most; a validation cut of the training rows chooses how many."""
    batch_size: Positive = 2_048
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 3e-4
    topic_learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Of the head that topics, or cover features, enter a model by."""
    topic_weight_decay: Annotated[float, Field(ge=0)] = 1e-3
    """Likewise."""


class EvaluationSettings(Section):
    """Table I and Fig. 3; AUC with and without topics."""

    trainings: Annotated[int, Field(ge=2)] = 3
    """Models trained from other seeds that Table I's intervals are over; one has none."""
    clusterings: Positive = 4
    """Of each of those."""
    ranking_seeds: Positive = 5
    """Models trained per cell of the ranking table; intervals are over users and them."""
    ranking_trials: Positive = 4
    """Settings tried for each model and variant, on validation rows; the first is `ranking`'s."""
