"""A figure of a release, its limits, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vidtopics.settings import FLOORS, GateSettings

FIRST_LOAD = "first load"


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    `name`: `TABLE.FIGURE` or `TABLE.COLUMN.FIGURE`. `value`: None where there is nothing to measure
    it on. `keys`: how many (of `unit`) it is a share or a mean of; None where a single one is
    evidence enough. `reason`: why its limits don't apply; empty where they do. `examples`: the keys
    that contribute most, asked for only where a limit is passed.
    """

    name: str
    value: float | None
    keys: int | None = None
    reason: str = ""
    examples: Callable[[], Sequence[str]] = tuple
    unit: str = "keys"


@dataclass(frozen=True)
class Verdict:
    """What a release's gates say of one figure.

    `figure`: None where there was nothing to measure. `history`: the figure's last values, oldest
    first. `examples`: the ten keys that changed most, by what the figure means.
    """

    name: str
    figure: float | None
    warn: float | None
    block: float | None
    verdict: Literal["ok", "warn", "block", "not applied"]
    note: str = ""
    examples: tuple[str, ...] = ()
    history: tuple[float, ...] = ()

    @property
    def is_floor(self) -> bool:
        """Whether the limits are least values."""
        return self.name.rpartition(".")[2] in FLOORS

    @property
    def text(self) -> str:
        """The verdict in one line, as the release log has it.

        >>> Verdict("video_topics.ended_share", 0.4, 0.1, 0.3, "block").text
        'block: 0.4 is above 0.3'
        >>> Verdict("topics.ended_share", None, 0.1, 0.3, "not applied", "first load").text
        'not applied: first load'
        """
        if self.verdict in ("warn", "block") and self.figure is not None:
            limit = self.block if self.verdict == "block" else self.warn
            side = "below" if self.is_floor else "above"
            return f"{self.verdict}: {self.figure:.4g} is {side} {limit:.4g}"
        return f"{self.verdict}: {self.note}" if self.note else self.verdict


def grade(figure: Figure, settings: GateSettings, history: Sequence[float] = ()) -> Verdict:
    """Hold a figure to its limits.

    >>> grade(Figure("video_topics.ended_share", 0.2, 100), GateSettings()).verdict
    'warn'
    >>> grade(Figure("video_topics.ended_share", 0.2, 10), GateSettings()).text
    'not applied: 10 keys, fewer than 20'
    """
    limits = settings.of(figure.name)
    reason = figure.reason or _too_few(figure, settings)
    verdict = Verdict(
        figure.name,
        figure.value,
        limits.warn,
        limits.block,
        "not applied" if reason else "ok",
        reason,
        history=tuple(history)[-5:],
    )
    if reason or figure.value is None:
        return verdict
    if _passes(figure.value, limits.block, floor=verdict.is_floor):
        level: Literal["warn", "block"] = "block"
    elif _passes(figure.value, limits.warn, floor=verdict.is_floor):
        level = "warn"
    else:
        return verdict
    return replace(verdict, verdict=level, examples=tuple(figure.examples())[:10])


def _too_few(figure: Figure, settings: GateSettings) -> str:
    if figure.value is None:
        return "nothing to measure"
    if figure.keys is not None and figure.keys < settings.least_keys:
        return f"{figure.keys} {figure.unit}, fewer than {settings.least_keys}"
    return ""


def _passes(value: float, limit: float | None, *, floor: bool) -> bool:
    if limit is None:
        return False
    return value < limit if floor else value > limit
