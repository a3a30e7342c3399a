"""What an experiment's analysis reads of a simulated day: rows of its log, and users' totals.

A row of the outcomes is one request: its slate's watching time, its views (clicks), and whether
the user refreshed afterwards. A row of the exposure is the first request of a session.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.simulation.identifiers import numbered
from vidtopics.simulation.loop import Batch

TIME = pa.timestamp("us", tz="UTC")
EXPOSURE = pa.schema({"user_id": pa.string(), "time": TIME})
OUTCOMES = pa.schema(
    {
        "user_id": pa.string(),
        "time": TIME,
        "watch_seconds": pa.float64(),
        "views": pa.int32(),
        "refreshes": pa.int32(),
    }
)
TOTALS_FILE = "totals.npz"


class Totals(NamedTuple):
    """Of U users over some days: sums of the outcomes, and who was exposed."""

    watch_seconds: NDArray[np.float64]
    views: NDArray[np.int64]
    refreshes: NDArray[np.int64]
    exposed: NDArray[np.bool_]

    @classmethod
    def empty(cls, users: int) -> Self:
        """Nothing yet."""
        zeros = np.zeros(users, np.int64)
        return cls(np.zeros(users), zeros, zeros.copy(), np.zeros(users, bool))

    def add(self, batch: Batch, end_us: int) -> None:
        """Add a batch's requests before `end_us`; users come once in a batch."""
        time, watch, views, refreshes = _outcomes(batch)
        inside = time < end_us
        users = batch.users[inside]
        self.watch_seconds[users] += watch[inside]
        self.views[users] += views[inside]
        self.refreshes[users] += refreshes[inside]
        if not batch.refresh:
            self.exposed[users] = True

    def save(self, folder: Path) -> None:
        """Write `totals.npz`."""
        with (folder / TOTALS_FILE).open("wb") as file:
            np.savez(file, allow_pickle=False, **self._asdict())

    @classmethod
    def load(cls, folders: Iterable[Path], users: int) -> Self:
        """The totals over days that were saved."""
        total = cls.empty(users)
        for folder in folders:
            with np.load(folder / TOTALS_FILE, allow_pickle=False) as day:
                for sums in (*cls._fields[:-1],):
                    getattr(total, sums)[:] += day[sums]
                total.exposed[:] |= day["exposed"]
        return total


class DayLog:
    """Writes a day's rows of the users of a mask: `outcomes.parquet` and `exposure.parquet`."""

    def __init__(self, folder: Path, is_logged: NDArray[np.bool_]) -> None:
        self._is_logged = is_logged
        self._outcomes = pq.ParquetWriter(folder / "outcomes.parquet", OUTCOMES)
        self._exposure = pq.ParquetWriter(folder / "exposure.parquet", EXPOSURE)

    def add(self, batch: Batch) -> None:
        """Write a batch's rows."""
        rows = np.flatnonzero(self._is_logged[batch.users])
        time, *sums = (column[rows] for column in _outcomes(batch))
        ids = numbered("u", batch.users[rows], len(self._is_logged))
        times = pa.array(time).cast(TIME)
        columns = [
            pa.array(column).cast(kind)
            for column, kind in zip(sums, OUTCOMES.types[2:], strict=True)
        ]
        self._outcomes.write_table(pa.Table.from_arrays([ids, times, *columns], schema=OUTCOMES))
        if not batch.refresh:
            self._exposure.write_table(pa.Table.from_arrays([ids, times], schema=EXPOSURE))

    def close(self) -> None:
        """Finish the files."""
        self._outcomes.close()
        self._exposure.close()


def join_days(parts: Sequence[Path], path: Path) -> None:
    """Write the rows of Parquet files, in order, as one file; a row group is one of theirs."""
    with pq.ParquetWriter(path, pq.read_schema(parts[0])) as whole:
        for part in parts:
            file = pq.ParquetFile(part)
            for group in range(file.num_row_groups):
                whole.write_table(file.read_row_group(group))


def _outcomes(batch: Batch) -> tuple[NDArray[np.int64], ...]:
    """Of a batch's n requests: time, watching seconds, views, refreshes."""
    done = batch.responses
    return (
        done.shown_at[:, 0],
        done.watch_seconds.astype(np.float64).sum(axis=1),
        done.clicked.sum(axis=1, dtype=np.int64),
        done.again.astype(np.int64),
    )
