"""Who is shown what: what the loop asks of a policy.

A policy sees users, the time and the platform's counts, never a latent (oracles excepted, which say
so). :class:`vidtopics.simulation.slates.LoggedPolicy` writes the world's own log; the policies that
experiments compare are `consumers.policies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vidtopics.simulation.platform import Platform


class Policy(Protocol):
    """Who is shown what.

    Slates follow from the world's seed, users, day, refresh and platform alone: draws are Philox's,
    keyed by user and slot, so that policies are compared with common random numbers, blocks of
    users of any size get the same slates, and a run that goes on from a saved platform gives the
    same bytes. What `open_day` keeps for the day has to follow from the platform, too.
    """

    @property
    def name(self) -> str:
        """What an arm with this policy is called."""

    def open_day(self, day: int, platform: Platform) -> None:
        """Prepare for a day, after :meth:`Platform.open_day` and before its first `choose`."""

    def choose(
        self,
        day: int,
        refresh: int,
        users: NDArray[np.int64],
        now_us: NDArray[np.int64],
        platform: Platform,
        slates: NDArray[np.int32],
        propensities: NDArray[np.float32],
    ) -> None:
        """Fill the slates of one block.

        Args:
            day: day since the world's start.
            refresh: slates that these users had in today's session.
            users: int64[n] users, ascending.
            now_us: int64[n] their clocks, UTC microseconds.
            platform: what serving may know: everything before this round.
            slates: int32[n, k] to be filled with live videos, none twice in a row.
            propensities: float32[n, k] to be filled with P(video in slot | earlier slots): 1 where
                the policy is deterministic, NaN where it can't say.
        """
