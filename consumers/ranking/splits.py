"""Which impressions a model learns from and which it is tested on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Split(NamedTuple):
    """Row numbers, ascending; a row that is in neither part had its window open at the cut."""

    train: Numbers
    test: Numbers


def by_user(users: Numbers, shown_us: Numbers, *, share: float) -> Split:
    """Each user's last impressions are the test.

    Of n impressions floor(share * n), by time, then by row.

    >>> by_user(np.array([7, 8, 7, 7]), np.array([5, 5, 9, 1]), share=0.4)
    Split(train=array([0, 1, 3]), test=array([2]))
    """
    order = np.lexsort((np.arange(len(users)), shown_us, users))
    _, first, counts = np.unique(users[order], return_index=True, return_counts=True)
    place = np.arange(len(users)) - np.repeat(first, counts)
    last = np.empty(len(users), bool)
    last[order] = place >= np.repeat(counts - np.floor(share * counts), counts)
    return Split(np.flatnonzero(~last), np.flatnonzero(last))


def by_time(shown_us: Numbers, *, share: float, window_us: int) -> Split:
    """The last `share` of all impressions is the test.

    Training rows are those shown before it began whose label window had closed by then.

    >>> by_time(np.array([1, 2, 3, 4, 5]), share=0.4, window_us=2)
    Split(train=array([0, 1]), test=array([3, 4]))
    """
    if not len(shown_us):
        return Split(np.empty(0, np.int64), np.empty(0, np.int64))
    cut = np.sort(shown_us)[int(len(shown_us) * (1 - share))]
    is_train = (shown_us < cut) & (shown_us + window_us <= cut)
    return Split(np.flatnonzero(is_train), np.flatnonzero(shown_us >= cut))
