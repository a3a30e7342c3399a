"""What an experiment declares before it starts: `experiment.yaml`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from vidtopics.errors import SettingsError, explain
from vidtopics.experiments.bucketing import bucket_ranges
from vidtopics.settings.section import Section
from vidtopics.times import micros
from vidtopics.yaml_files import read_mapping

FILE = "experiment.yaml"
DAY_US = 86_400_000_000
Alpha = Annotated[float, Field(gt=0, le=0.5)]
Positive = Annotated[float, Field(gt=0)]
Population = Literal["assigned", "active"]
FILES = ("assignment", "exposure", "outcomes", "pre_outcomes")


class Arm(Section):
    """An arm: its share of all users, or the buckets that it has."""

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    buckets: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.share is None) == (self.buckets is None):
            raise ValueError("either a share or a list of buckets")
        return self


class Metric(Section):
    """A figure to compare: a mean over users of `value`, or a ratio of two sums.

    * `kind`: `mean`: a user's total of `value`, over users; `ratio`: total of `value` over total of
      `per`, of all users together.
    * `populations`: `assigned` counts all users of an arm, `active` those with an exposure.
    """

    kind: Literal["mean", "ratio"]
    value: str
    per: str | None = None
    populations: Annotated[tuple[Population, ...], Field(min_length=1)] = ("assigned",)

    @model_validator(mode="after")
    def _has_denominator(self) -> Self:
        if (self.kind == "ratio") != (self.per is not None):
            raise ValueError("a ratio has `per`, a mean has none")
        return self


class Decision(Section):
    """When the experiment is decided, declared before it starts.

    * `fixed`: once, at the end; intervals hold for one look.
    * `sequential`: at any look; intervals hold for all of them together. `expected_effect` is the
      relative effect that they are tightest for, chosen beforehand.
    """

    kind: Literal["fixed", "sequential"] = "fixed"
    alpha: Alpha = 0.05
    expected_effect: Positive | None = None

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if (self.kind == "sequential") != (self.expected_effect is not None):
            raise ValueError("`sequential` has `expected_effect`, `fixed` has none")
        return self


TABLE_3 = {
    "UVD": Metric(kind="mean", value="watch_seconds"),
    "UAVD": Metric(kind="mean", value="watch_seconds", populations=("active",)),
    "AVD": Metric(kind="ratio", value="watch_seconds", per="views"),
    "ART": Metric(kind="mean", value="refreshes", populations=("assigned", "active")),
}
"""The paper's Table III (section IV-A): watching time of all users, of a user, of a view; refreshes
of a user."""


class Experiment(Section):
    """An experiment as `experiment.yaml` declares it (docs/experiments.md).

    >>> arms = {"control": {"share": 0.5}, "topics": {"share": 0.5}}
    >>> experiment = Experiment(name="topics", arms=arms, control="control",
    ...                         start="2026-12-01", end="2026-12-08")
    >>> experiment.days, experiment.treatments, experiment.expected_shares
    (7, ['topics'], [0.5, 0.5])
    """

    name: str
    salt: Annotated[str, Field(pattern="^[^:]+$")] | None = None
    buckets: Annotated[int, Field(gt=1, le=1_000_000)] = 1000
    arms: Annotated[dict[str, Arm], Field(min_length=2)]
    control: str
    start: datetime
    end: datetime
    pre_days: Annotated[int, Field(ge=0, le=366)] = 7
    metrics: Annotated[dict[str, Metric], Field(min_length=1)] = TABLE_3
    decision: Decision = Decision()
    strata: tuple[str, ...] = ()
    files: dict[str, str] = Field(default_factory=dict)
    columns: dict[str, dict[str, str]] = Field(default_factory=dict)
    concurrent_tests: dict[str, str] = Field(default_factory=dict)

    @field_validator("start", "end", mode="before")
    @classmethod
    def _read_time(cls, value: Any) -> Any:
        if isinstance(value, date) and not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        return value

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, value: datetime) -> datetime:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.control not in self.arms:
            raise ValueError(f"control {self.control!r} is none of the arms {list(self.arms)}")
        if unknown := [n for n in (*self.files, *self.columns) if n not in FILES]:
            raise ValueError(f"{unknown[0]!r} is none of the files {', '.join(FILES)}")
        if len({arm.share is None for arm in self.arms.values()}) > 1:
            raise ValueError("either all arms have a share, or all have buckets")
        length = self.end - self.start
        if length < timedelta(days=1) or length % timedelta(days=1):
            raise ValueError(f"end is {length} after start, which is no whole number of days")
        taken = [number for arm in self.arms.values() for number in arm.buckets or ()]
        if len(set(taken)) < len(taken) or (taken and max(taken) >= self.buckets):
            raise ValueError(f"an arm's buckets lie below {self.buckets} and are no other arm's")
        return self

    @property
    def days(self) -> int:
        """Length of the experiment in days."""
        return (self.end - self.start).days

    @property
    def start_us(self) -> int:
        """The start in microseconds since 1970; it counts."""
        return micros(self.start)

    @property
    def treatments(self) -> list[str]:
        """The arms other than control, in their order."""
        return [name for name in self.arms if name != self.control]

    @cached_property
    def arm_buckets(self) -> dict[str, Sequence[int]]:
        """The buckets of each arm."""
        listed = {name: arm.buckets for name, arm in self.arms.items() if arm.buckets}
        shares = {name: arm.share for name, arm in self.arms.items() if arm.share}
        return dict(listed) if listed else bucket_ranges(shares, self.buckets)

    @property
    def expected_shares(self) -> list[float]:
        """Share of the assigned users that each arm should have, in the order of the arms."""
        counts = [len(numbers) for numbers in self.arm_buckets.values()]
        return [count / sum(counts) for count in counts]

    @property
    def values(self) -> list[str]:
        """Names of the outcome columns that the metrics read."""
        names = [name for m in self.metrics.values() for name in (m.value, m.per) if name]
        return list(dict.fromkeys(names))


def read_experiment(folder: Path) -> Experiment:
    """The experiment that `FOLDER/experiment.yaml` declares.

    Raises:
        SettingsError: it is missing, or names every key and value that is wrong.
    """
    path = folder / FILE
    tree = read_mapping(path)
    try:
        experiment = Experiment.model_validate(tree)
    except ValidationError as error:
        messages = [_message(path, dict(e)) for e in error.errors()]
        raise SettingsError("\n".join(messages)) from None
    _ = experiment.arm_buckets
    return experiment


def _message(path: Path, error: Mapping[str, Any]) -> str:
    keys = [str(part) for part in error["loc"]]
    where = ", ".join([str(path), *filter(None, [".".join(keys)])])
    mend = "see docs/experiments.md"
    if error["type"] == "extra_forbidden":
        known = [*Experiment.model_fields, *Metric.model_fields, *Decision.model_fields]
        near = difflib.get_close_matches(keys[-1], [*known, *Arm.model_fields], n=1)
        mend = f"did you mean {near[0]!r}?" if near else mend
        return explain(where, expected="a known key", found=repr(keys[-1]), mend=mend)
    expected = str(error["msg"]).removeprefix("Value error, ")
    return explain(where, expected=expected, found=repr(error["input"])[:80], mend=mend)
