"""Limits of a release's figures."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from vidtopics.contracts import TABLES
from vidtopics.settings.section import Count, Section


class Limits(Section):
    """Past which value a figure of a release warns, and past which it blocks; null: never."""

    warn: float | None
    block: float | None


OFF = Limits(warn=None, block=None)
ANY = Limits(warn=0, block=0)
FLOORS = frozenset({"rows", "topics_per_video", "occupancy", "mean_queue"})
"""Figures whose limits are least values; all others' are greatest ones."""
TABLE_LIMITS: Mapping[str, Limits] = {
    **{
        f"{name}.rows": Limits(warn=None, block=1)
        for name in (
            "video_catalog",
            "video_tag_embedding",
            "video_joint_representation",
            "topics",
            "video_topics",
            "video_statistics",
        )
    },
    # Running totals: each run shifts all of their bins.
    "video_statistics.psi": OFF,
    "video_counts.psi": OFF,
    "user_statistics.psi": OFF,
    "user_topic_counts.psi": OFF,
    "topic_queues.queue_exposures.psi": OFF,
    "topic_queues.queue_clicks.psi": OFF,
    "topics.size.psi": OFF,
    # A queue's places change with its click-through rates.
    "topic_queues.ended_share": Limits(warn=0.5, block=0.9),
    # With one topic model version, rows change where their videos do: none in ten days of 5% new
    # videos, half of a percent after a delivery of 1%.
    **{
        f"{name}.changed_share": Limits(warn=0.2, block=0.5)
        for name in (
            "tag_embedding",
            "video_tag_embedding",
            "video_joint_representation",
            "topics",
            "video_topics",
        )
    },
}
"""Limits of single tables that hold where the settings name none."""


class GateSettings(Section):
    """Limits of a release's figures (`docs/releases.md` has each figure's definition)."""

    least_keys: Count = 20
    """A share of fewer keys than this is no evidence: its limits don't apply."""
    compare_within: Annotated[timedelta, Field(ge=timedelta(0))] = timedelta(days=7)
    """A release whose as-of time is later than the last one's by more than this isn't that of the
    next run: limits of growth, change and drift don't apply."""
    lost_history: Limits = ANY
    rows: Limits = OFF
    """Live keys, at least."""
    ended_share: Limits = Limits(warn=0.1, block=0.3)
    appeared_share: Limits = Limits(warn=2, block=10)
    changed_share: Limits = OFF
    """Counts change from run to run: limits are those of the tables that a topic model infers."""
    null_share: Limits = ANY
    other_width_share: Limits = ANY
    width_change: Limits = Limits(warn=0, block=None)
    not_finite_share: Limits = ANY
    off_length_share: Limits = ANY
    zero_share: Limits = Limits(warn=0.9, block=None)
    psi: Limits = Limits(warn=0.25, block=1)
    topics_per_video: Limits = Limits(warn=1, block=0.5)
    """Mean number of topics of a video, at least."""
    below_threshold_share: Limits = Limits(warn=0.5, block=0.9)
    occupancy: Limits = Limits(warn=0.9, block=0.5)
    """Share of topics that have a video, at least."""
    gini: Limits = Limits(warn=0.8, block=0.95)
    largest_share: Limits = Limits(warn=0.25, block=0.5)
    epoch_change: Limits = Limits(warn=0, block=None)
    no_queue_share: Limits = Limits(warn=0.5, block=0.9)
    mean_queue: Limits = OFF
    """Mean length of the queues that there are, at least."""
    input_age_hours: Limits = Limits(warn=48, block=None)
    tables: dict[str, Limits] = Field(default_factory=dict)
    """Of one table or column: `video_topics.ended_share`, `video_topics.topic_count.psi`."""

    @field_validator("*")
    @classmethod
    def _refuse_crossed_limits(cls, value: Any, info: ValidationInfo) -> Any:
        """A figure warns before it blocks."""
        named = value if isinstance(value, dict) else {str(info.field_name): value}
        for name, limits in named.items():
            if isinstance(limits, Limits) and _are_crossed(name, limits):
                raise PydanticCustomError("crossed_limits", "a warn limit that is reached first")
        return value

    @field_validator("tables")
    @classmethod
    def _refuse_unknown_gates(cls, value: dict[str, Limits]) -> dict[str, Limits]:
        for name in value:
            if not _is_gate(cls, name):
                near = difflib.get_close_matches(name, _gates(cls), n=1, cutoff=0.0)[0]
                raise PydanticCustomError(
                    "unknown_gate",
                    "gates' names, TABLE.FIGURE or TABLE.COLUMN.FIGURE, as {near}; not {name}",
                    {"near": near, "name": name},
                )
        return value

    def of(self, name: str) -> Limits:
        """The limits of a gate: the column's, else the table's, else the figure's.

        >>> GateSettings().of("topics.rows").block, GateSettings().of("topic_queues.rows").block
        (1.0, None)
        """
        table, _, figure = name.partition(".")
        figure = figure.rpartition(".")[2]
        named = {**TABLE_LIMITS, **self.tables}
        limits: Limits = named.get(name) or named.get(f"{table}.{figure}") or getattr(self, figure)
        return limits


def _are_crossed(name: str, limits: Limits) -> bool:
    if limits.warn is None or limits.block is None:
        return False
    if name.rpartition(".")[2] in FLOORS:
        return limits.warn < limits.block
    return limits.warn > limits.block


def _is_gate(settings: type[GateSettings], name: str) -> bool:
    table, *column, figure = name.split(".") if "." in name else ("", name)
    if table not in TABLES or figure not in _figures(settings) or len(column) > 1:
        return False
    return not column or column[0] in {c.name for c in TABLES[table].values}


def _figures(settings: type[GateSettings]) -> list[str]:
    return [name for name, field in settings.model_fields.items() if field.annotation is Limits]


def _gates(settings: type[GateSettings]) -> list[str]:
    return [f"{table}.{figure}" for table in TABLES for figure in _figures(settings)]
