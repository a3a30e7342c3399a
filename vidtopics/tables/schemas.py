"""Arrow and Delta schemas of contracts.

>>> arrow_schema(contracts.CLICKS).names
['event_id', 'user_id', 'video_id', 'watch_seconds', 'event_timestamp', 'created_timestamp',
 'partition_date', 'commit_version']
"""

from __future__ import annotations

import pyarrow as pa

from vidtopics import contracts
from vidtopics.contracts import Column, Table

TIMESTAMP = pa.timestamp("us", tz="UTC")
ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": TIMESTAMP,
    "date": pa.date32(),
    "list<string>": pa.list_(pa.string()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float32>": pa.list_(pa.float32()),
    "map<string,int64>": pa.map_(pa.string(), pa.int64()),
    "map<string,float64>": pa.map_(pa.string(), pa.float64()),
    "map<string,string>": pa.map_(pa.string(), pa.string()),
}
# 400 days: with Delta's defaults old versions stop opening after 30 (docs/tables.md).
RETENTION = "interval 400 days"


STATS_COLUMNS = "delta.dataSkippingStatsColumns"
COUNTED_ANEW = "vidtopics.countedAnew"
"""Of a log: the last version that no increment may go on from, and since when (microseconds)."""


def indexed(table: Table) -> list[str]:
    """The columns whose least and greatest values a Delta log may have: no person is in them."""
    scalars = (c for c in table.all_columns if not c.type.startswith(("list", "map")))
    partitions = {contracts.PARTITION_DATE} if table.by_day else set()
    return [c.name for c in scalars if c.name not in contracts.PERSONAL | partitions]


def arrow_schema(table: Table, columns: tuple[Column, ...] | None = None) -> pa.Schema:
    """The Arrow schema of a table, or of some of its columns.

    Keys and times are never null; features may be (tombstones).
    """
    required = {*table.key, contracts.EVENT_TIME, contracts.CREATED_TIME, contracts.VALUE_HASH}
    return pa.schema(
        [
            pa.field(c.name, ARROW[c.type], nullable=c.name not in required)
            for c in columns or table.all_columns
        ]
    )


def configuration(table: Table) -> dict[str, str | None]:
    """The Delta properties that a table is created with."""
    extra = {} if table.kind == "snapshot" else {"delta.appendOnly": "true"}
    if any(c.name in contracts.PERSONAL for c in table.columns):
        extra |= {STATS_COLUMNS: ",".join(indexed(table))}
    return {
        "delta.logRetentionDuration": RETENTION,
        "delta.deletedFileRetentionDuration": RETENTION,
        "delta.checkpointInterval": "100",
        **extra,
    }
