"""Which row of a feature view each video had at any time, for lookups inside kernels."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumers.training.inputs import ViewRows

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


class Versions(NamedTuple):
    """Rows by video and time: those of video v lie from `starts[v]` to `starts[v + 1]`.

    Attributes:
        starts: int64[V + 1].
        since_us: int64[M], ascending within a video.
        row: int32[M], the view's row that is seen from then on; -1: none.
    """

    starts: NDArray[np.int64]
    since_us: NDArray[np.int64]
    row: NDArray[np.int32]

    @classmethod
    def of(cls, rows: ViewRows, videos: pa.Array) -> Versions:
        """By what :meth:`ViewRows.known` gives at every time at which it can change.

        Args:
            rows: a view keyed by video, without TTL.
            videos: V ids; other ids' rows are left out.

        >>> keys = pa.table({"video_id": ["a", "a"]})
        >>> rows = ViewRows(keys, np.array([1, 5]), np.array([9, 7]), pa.table({"n": [1, 2]}))
        >>> versions = Versions.of(rows, pa.array(["a", "b"]))
        >>> versions.since_us.tolist(), versions.row.tolist()  # of row 0 nobody ever knew in time
        ([7], [1])
        """
        video, since = rows.changes(videos)
        order = np.lexsort((since, video))
        video, since = video[order], since[order]
        row = rows.known(pa.table({"video_id": videos.take(pa.array(video))}), since)
        changed = np.ones(len(video), bool)
        changed[1:] = (video[1:] != video[:-1]) | (row[1:] != row[:-1])
        starts = np.searchsorted(video[changed], np.arange(len(videos) + 1))
        return cls(starts, since[changed], row[changed].astype(np.int32))

    @classmethod
    def constant(cls, rows: NDArray[np.int64]) -> Versions:
        """Video v has `rows[v]` at all times."""
        n = len(rows)
        since = np.full(n, np.iinfo(np.int64).min)
        return cls(np.arange(n + 1), since, rows.astype(np.int32))

    def last(self) -> Versions:
        """Each video's last row, as if it had held at all times."""
        has_rows = self.starts[1:] > self.starts[:-1]
        rows = np.full(len(has_rows), -1)
        rows[has_rows] = self.row[self.starts[1:][has_rows] - 1]
        return Versions.constant(rows)

    def at(self, videos: NDArray[np.int32], times_us: NDArray[np.int64]) -> NDArray[np.int32]:
        """int32[N]: the row of each video at each time, -1: none."""
        out: NDArray[np.int32] = _at(*self, videos, times_us)
        return out


@numba.njit(cache=True)
def row_at(
    starts: Ints,
    since_us: Ints,
    row: Codes,
    video: int,
    time_us: int,
) -> int:
    """The row of one video at a time, -1: none."""
    low, high = starts[video], starts[video + 1]
    first = low
    while low < high:
        middle = (low + high) // 2
        if since_us[middle] <= time_us:
            low = middle + 1
        else:
            high = middle
    return row[low - 1] if low > first else -1


@numba.njit(cache=True)
def _at(
    starts: Ints,
    since_us: Ints,
    row: Codes,
    videos: Codes,
    times_us: Ints,
) -> Codes:
    out = np.empty(len(videos), np.int32)
    for n in range(len(videos)):
        out[n] = row_at(starts, since_us, row, videos[n], times_us[n])
    return out
