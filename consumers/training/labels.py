"""Labels of impressions: was it clicked within the window, and is the window over?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class Labels(NamedTuple):
    """bool[N] each: the impression's window has closed; it was clicked within it."""

    closed: NDArray[np.bool_]
    clicked: NDArray[np.bool_]


def label(impressions: pa.Table, clicks: pa.Table, *, window_us: int, as_of_us: int) -> Labels:
    """Labels as of a time, by what was known then.

    An impression has a label once its window has passed; a click counts from the impression's time
    to the window's end, both included, if it is known by `as_of_us`.

    Args:
        impressions: event_id, event_us, created_us; N rows.
        clicks: event_id (unique), event_us, created_us.
        window_us: the label window.
        as_of_us: when the labels are taken.

    >>> times = {"event_us": [0, 0, 95], "created_us": [0, 0, 95]}
    >>> shown = pa.table({"event_id": ["a", "b", "c"], **times})
    >>> clicks = pa.table({"event_id": ["a", "b"], "event_us": [10, 11], "created_us": [10, 11]})
    >>> [flags.tolist() for flags in label(shown, clicks, window_us=10, as_of_us=100)]
    [[True, True, False], [True, False, False]]
    """
    shown_us = impressions["event_us"].to_numpy()
    known = clicks.filter(pc.less_equal(clicks["created_us"], as_of_us)).combine_chunks()
    at = pc.index_in(impressions["event_id"], value_set=known["event_id"].combine_chunks())
    clicked_us = known["event_us"].take(at.combine_chunks())
    delay = pc.subtract(clicked_us, impressions["event_us"])
    inside = pc.fill_null(
        pc.and_(pc.greater_equal(delay, 0), pc.less_equal(delay, window_us)), False
    )
    closed = (shown_us + window_us <= as_of_us) & (impressions["created_us"].to_numpy() <= as_of_us)
    return Labels(closed, inside.to_numpy() & closed)
