"""The age of the newest input as of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from vidtopics.contracts import CLICKS, EVENT_TIME, IMPRESSIONS, Table
from vidtopics.gates.verdicts import Figure
from vidtopics.gates.versions import Releases, dataset_of
from vidtopics.tables.schemas import TIMESTAMP
from vidtopics.tables.whole import readable
from vidtopics.times import moment

HOUR_US = 3_600_000_000
LOGS = (IMPRESSIONS, CLICKS)


def age_figures(releases: Releases, table: Table, as_of_us: int) -> Iterator[Figure]:
    """Hours from a log's newest event before the as-of time to that time; none for other tables."""
    if table not in LOGS or table.name not in releases.after:
        return
    newest = _newest(releases, table, as_of_us)
    yield Figure(
        f"{table.name}.input_age_hours",
        None if newest is None else (as_of_us - newest) / HOUR_US,
        examples=lambda: [f"newest event {moment(newest)}"] if newest is not None else [],
    )


def _newest(releases: Releases, table: Table, as_of_us: int) -> int | None:
    dataset = dataset_of(releases.tables, table, releases.after[table.name])
    earlier = ds.field(EVENT_TIME) < pa.scalar(as_of_us, pa.int64()).cast(TIMESTAMP)
    newest: int | None = None
    with readable(table, releases.after[table.name]):
        for batch in dataset.to_batches(columns=[EVENT_TIME], filter=earlier):
            latest = pc.max(batch[EVENT_TIME]).cast(pa.int64()).as_py()
            newest = max(filter(None, (newest, latest)), default=None)
    return newest
