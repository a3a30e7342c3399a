"""`video_statistics` with the counts of events."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vidtopics.online import Features, Status
from vidtopics.rates import Prior, smoothed_ctr

COLUMNS = ("video_exposures", "video_clicks")


def with_counts(rows: Features, counts: NDArray[np.int64], since_us: int) -> Features:
    """Rows of `video_statistics` with exposures and clicks since their release.

    A video that the release doesn't have has a row once an event came, of events alone. Decayed
    counts stay the release's: a count says nothing of the events' times.

    Args:
        rows: N of them.
        counts: int64[N, 2].
        since_us: the release's as-of time.
    """
    is_new = (rows.status == Status.NOT_FOUND) & counts.any(axis=1)
    changed = is_new | (rows.present & counts.any(axis=1))
    if not changed.any():
        return rows
    columns, null = {**rows.columns}, {**rows.null}
    for place, name in enumerate(COLUMNS):
        column = cast("NDArray[np.int64]", columns[name])
        columns[name] = np.where(changed, column + counts[:, place], column)
        null[name] = null[name] & ~is_new
    return replace(
        rows,
        status=np.where(is_new, np.uint8(Status.PRESENT), rows.status),
        event_us=np.where(is_new, since_us, rows.event_us),
        created_us=np.where(is_new, since_us, rows.created_us),
        columns=columns,
        null=null,
    )


def rates(rows: Features, prior: Prior) -> NDArray[np.float64]:
    """float64[N], the smoothed click-through rates; the prior's where no row is present."""
    exposures, clicks = (
        np.where(rows.present, cast("NDArray[np.int64]", rows[name]), 0).astype(np.float64)
        for name in COLUMNS
    )
    return smoothed_ctr(clicks, exposures, prior)
