"""A user's counts as of a time."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from vidtopics.rates import decayed

Ints = NDArray[np.int64]
STATISTICS = (
    "user_exposures",
    "user_clicks",
    "user_expected_clicks",
    "user_decayed_exposures",
    "user_decayed_clicks",
    "user_decayed_expected",
)
"""Columns of `user_statistics` in the order of :class:`Served`."""
DECAYED_AT = "user_decayed_at"


def decayed_statistics(
    counts: NDArray[np.float64], since_us: Ints, times_us: Ints, half_life: timedelta
) -> NDArray[np.float64]:
    """float64[N, 6] of columns STATISTICS, the last three decayed from one time to another."""
    since, times = since_us.astype(np.float64), times_us.astype(np.float64)
    recent = [decayed(counts[:, i], since, times, half_life) for i in range(3, 6)]
    return np.concatenate([counts[:, :3], np.stack(recent, axis=1)], axis=1)
