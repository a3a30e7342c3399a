"""The columns of numbers that models read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consumers.encoding.topics import SHARPNESS, SHRINKAGES, TopicSums
from consumers.encoding.vocabulary import Vocabulary
from vidtopics.rates import smoothed_ctr

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
HOUR_US = 3_600_000_000
TIERS = (0.25, 0.5, 0.75)
"""Upper ends of the tiers of topic overlap, the cosine of two videos' topic weights; 0 counts in
none, the last tier goes to 1."""
NAMES = (
    "video_exposures",
    "video_log_odds",
    "has_statistics",
    "candidate_age",
    "position",
    "user_exposures",
    "user_clicks",
    "history_length",
    "history_clicks",
    "history_log_odds",
    *(f"user_residual_{c:g}" for c in SHRINKAGES),
    "user_decayed_residual",
    "pair_exposures",
    "pair_clicks",
)
"""Columns of `numbers`."""


def _topic_names() -> tuple[str, ...]:
    match = ("exposures", "clicks", *(f"residual_{c:g}" for c in SHRINKAGES))
    kernels = ("overlap", *(f"kernel_{s:g}" for s in SHARPNESS))
    tiers = (f"{kind}_tier_{t}" for kind in ("skipped", "clicked") for t in range(len(TIERS) + 1))
    return (
        *(f"topic_{name}" for name in match),
        *(f"{kernel}_residual_{c:g}" for kernel in kernels for c in SHRINKAGES),
        *(f"parent_{name}" for name in match),
        *(f"parent_overlap_residual_{c:g}" for c in SHRINKAGES),
        *tiers,
    )


TOPIC_NAMES = _topic_names()
"""Columns of `topic_numbers`."""


def numbers(
    known: Vocabulary,
    *,
    counts: Doubles,
    statistics: Doubles,
    windows: Floats,
    published_us: Doubles,
    shown_us: NDArray[np.int64],
    positions: Doubles,
) -> Floats:
    """float32[N, F], columns NAMES.

    Args:
        known: prior and means.
        counts: float64[N, 2], the video's exposures and clicks; NaN where nothing is known.
        statistics: float64[N, 6], the user's counts (:data:`consumers.encoding.users.STATISTICS`).
        windows: float32[N, 4 + 2 * tiers]: length and clicks of the history, exposures and clicks
            of the candidate in it, then its tiers.
        published_us: float64[N], NaN where unknown.
        shown_us: int64[N].
        positions: float64[N], NaN where unknown.
    """
    exposures, clicks = counts.T
    has_statistics = ~np.isnan(exposures)
    odds = np.where(has_statistics, smoothed_ctr(clicks, exposures, known.prior), 0)
    odds = np.clip(np.where(has_statistics, odds, known.prior.global_ctr), 1e-4, 1 - 1e-4)
    shown, clicked, expected, *decayed = statistics.T
    recent_shown, recent_clicked, recent_expected = decayed
    return np.stack(
        [
            np.log1p(np.nan_to_num(exposures)) / 5,
            np.log(odds / (1 - odds)),
            has_statistics,
            log_age(published_us, shown_us, known.age),
            log_position(positions, known.position),
            np.log1p(shown) / 5,
            np.log1p(clicked) / 5,
            windows[:, 0] / 100,
            np.log1p(windows[:, 1]) / 5,
            np.log((windows[:, 1] + 3) / (windows[:, 0] - windows[:, 1] + 3)),
            *(_residual(shown, clicked, expected, c) for c in SHRINKAGES),
            _residual(recent_shown, recent_clicked, recent_expected, 2.0),
            *np.log1p(windows[:, 2:4].T),
        ],
        axis=1,
    ).astype(np.float32)


def _residual(
    exposures: Doubles,
    clicks: Doubles,
    expected: Doubles,
    shrinkage: float,
) -> Doubles:
    """(clicks - expected) / (variance + c): about the log-odds that clicks lie above what was due.

    The variance of the expected clicks is taken at their mean rate, E (1 - E / n).
    """
    rate = np.divide(expected, exposures, out=np.zeros_like(expected), where=exposures > 0)
    variance = np.maximum(expected * (1 - rate), 0)
    residual: Doubles = (clicks - expected) / (variance + shrinkage)
    return residual


def topic_numbers(sums: TopicSums, windows: Floats) -> Floats:
    """float32[N, G], columns TOPIC_NAMES.

    Args:
        sums: of the user's topics, for each candidate.
        windows: as of :func:`numbers`.
    """
    columns = []
    for match, kernel in ((sums.match, sums.kernel), (sums.parents, sums.parent_kernel)):
        ratios = kernel[:, :, :1] / (kernel[:, :, 1:] + np.array(SHRINKAGES, np.float32))
        columns += [np.log1p(match[:, :2]) / 5, match[:, 2:], ratios.reshape(len(windows), -1)]
    return np.concatenate([*columns, np.log1p(windows[:, 4:])], axis=1)


def log_position(positions: Doubles, unknown: float) -> Floats:
    """float32[N], log of the positions in the refresh, `unknown` where there is none (NaN)."""
    logs: Floats = np.log(np.maximum(positions, 1)).astype(np.float32)
    logs[np.isnan(logs)] = unknown
    return logs


def log_age(published_us: Doubles, shown_us: NDArray[np.int64], unknown: float) -> Floats:
    """float32[N], log(1 + hours since publication) / 5, `unknown` where that isn't known (NaN).

    A fifth, as of all logarithms of counts here, brings it near the other numbers.
    """
    age_us = np.maximum(shown_us - published_us, 0)
    logs: Floats = (np.log1p(age_us / HOUR_US) / 5).astype(np.float32)
    logs[np.isnan(logs)] = unknown
    return logs
