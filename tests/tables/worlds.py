"""Small rows to publish, and a table's rows as plain tuples."""

from __future__ import annotations

import pyarrow as pa

from vidtopics import contracts
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import EPOCH, micros

assert micros(EPOCH) == 0

# Every sign that some engine reads as its own: escapes, queries, patterns, variables, quotes.
ODD_NAME = " -a b#%{ü}e\u0301?x=1*:'\"$HOME&@v1,~ "


def statistics(values: dict[str, int]) -> pa.Table:
    """Rows of video_statistics: a video's value is its number of exposures."""
    rows = [{"video_id": v, "video_exposures": n, "video_clicks": 0} for v, n in values.items()]
    return pa.Table.from_pylist(
        rows, schema=arrow_schema(contracts.VIDEO_STATISTICS, contracts.VIDEO_STATISTICS.columns)
    )


def tags(values: dict[str, int]) -> pa.Table:
    """Rows of tag_embedding (two wide): a tag's value is its number of videos."""
    rows = [
        {"tag": t, "tag_vector": [1.0, float(n)], "video_count": n, "component": 0}
        for t, n in values.items()
    ]
    return pa.Table.from_pylist(
        rows, schema=arrow_schema(contracts.TAG_EMBEDDING, contracts.TAG_EMBEDDING.columns)
    )


def catalog(*rows: tuple[str, str, int, int]) -> pa.Table:
    """Rows of video_catalog: id, title, event and created time."""
    fields = [
        {
            "video_id": v,
            "title": title,
            "cover": "",
            "primary_classes": ["music"],
            "secondary_classes": ["jazz"],
            "published_at": 0,
            "removed_at": None,
            "content_hash": title,
            "event_timestamp": e,
            "created_timestamp": c,
        }
        for v, title, e, c in rows
    ]
    schema = pa.schema([f for f in arrow_schema(contracts.VIDEO_CATALOG) if f.name != "value_hash"])
    return pa.Table.from_pylist(fields, schema=schema)


def impressions(*events: tuple[str, int, int]) -> pa.Table:
    """Rows of impressions: event id, event and created time."""
    rows = [
        {
            "event_id": i,
            "user_id": "u",
            "video_id": "v",
            "request_id": None,
            "position": 1,
            "event_timestamp": e,
            "created_timestamp": c,
        }
        for i, e, c in events
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(contracts.IMPRESSIONS))


def at(event: int, created: int | None = None, job: str = "job", **more: object) -> Commit:
    """A run as of `event`, known from `created` (an event time later by default)."""
    known_us = event + 1 if created is None else created
    return Commit(job, event, known_us, **more)  # type: ignore[arg-type]


def rows_of(
    tables: Tables, table: contracts.Table, value: str
) -> list[tuple[str, int, int, object]]:
    """(key, event, created, value) of every row, sorted; value None for a tombstone."""
    records = tables.read(table).to_pylist()
    key = table.key[0]
    return sorted(
        (r[key], micros(r["event_timestamp"]), micros(r["created_timestamp"]), r[value])
        for r in records
    )
