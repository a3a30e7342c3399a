"""The settings that the batch's rules for users depend on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from vidtopics.settings import Settings


@dataclass(frozen=True)
class LiveRules:
    """How events count, as the jobs of users have it.

    Attributes:
        half_life_us: `users.half_life` in microseconds.
        topics: `users.topics`.
        parents: `users.parents`.
        prior_exposures: `statistics.prior_exposures`.

    >>> LiveRules.of(Settings()).topics
    64
    """

    half_life_us: int
    topics: int
    parents: int
    prior_exposures: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of a home."""
        users = settings.users
        half_life_us = users.half_life // timedelta(microseconds=1)
        prior_exposures = settings.statistics.prior_exposures
        return cls(half_life_us, users.topics, users.parents, prior_exposures)
