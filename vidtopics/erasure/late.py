"""Deliveries after an erasure: events of before the request don't come back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, USER_ID, rejected
from vidtopics.erasure.receipts import Receipts
from vidtopics.timestamps import microseconds

BATCH = 65_536
NAMED = re.compile(r"user_id '([^']*)'(?: \(known: '([^']*)'\))?")
"""How the detail of a refused row names its user."""


class Erased:
    """Up to when events of which people are erased, by the receipts of a home."""

    def __init__(self, home: Path) -> None:
        receipts = Receipts(home)
        self._until_us = receipts.until_us()
        self._hash_of = receipts.hasher() if self._until_us else str
        self._limits: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._until_us)

    def until_us(self, user: str) -> int:
        """Up to when a user's events are erased; 0: none is."""
        if user not in self._limits:
            self._limits[user] = self._until_us.get(self._hash_of(user), 0)
        return self._limits[user]

    def is_erased(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """bool[N]: which rows of a log are of such people, and not after their request."""
        users = batch[USER_ID.name].dictionary_encode()
        until = [self.until_us(user) for user in users.dictionary.to_pylist()]
        limits = np.array(until, np.int64)[users.indices.to_numpy()]
        erased: NDArray[np.bool_] = microseconds(batch[EVENT_TIME]) <= limits
        return erased


def leave_out(home: Path, staged: Mapping[str, Path]) -> int:
    """Take rows of people who were erased since out of a staged delivery; how many went.

    An impression of before the request takes its click along, whenever that was.
    """
    erased = Erased(home)
    if not erased:
        return 0
    events: set[str] = set()
    removed = 0
    for table in (IMPRESSIONS, CLICKS):
        path = staged[table.name]
        partial = path.with_suffix(".part")
        with pq.ParquetFile(path) as file, pq.ParquetWriter(partial, file.schema_arrow) as writer:
            for batch in file.iter_batches(BATCH):
                is_erased = erased.is_erased(batch)
                if events:
                    ids = batch["event_id"].to_pylist()
                    is_erased |= np.fromiter((i in events for i in ids), np.bool_, len(ids))
                if is_erased.any() and table is IMPRESSIONS:
                    events.update(batch["event_id"].filter(pa.array(is_erased)).to_pylist())
                removed += int(is_erased.sum())
                writer.write_batch(batch.filter(pa.array(~is_erased)))
        partial.replace(path)
    for table in (IMPRESSIONS, CLICKS):
        removed += _leave_out_refused(erased, staged[rejected(table).name])
    return removed


def _leave_out_refused(erased: Erased, path: Path) -> int:
    """Refused rows whose detail names such a person."""
    rows = pq.read_table(path)
    named = (NAMED.findall(detail or "") for detail in rows["detail"].to_pylist())
    is_erased = [
        any(erased.until_us(user) for pair in pairs for user in pair if user) for pairs in named
    ]
    if any(is_erased):
        pq.write_table(rows.filter(pa.array([not e for e in is_erased])), path)
    return sum(is_erased)
