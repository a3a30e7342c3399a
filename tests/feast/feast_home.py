"""A home with the tables of all views, small and made without Spark."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from vidtopics.contracts import VIEWS
from vidtopics.tables.schemas import arrow_schema, configuration

DAY_US = 86_400_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000


def write(home: Path, name: str, rows: list[dict]) -> None:
    """Append rows to the table of a view; `event` and `created` are days after START.

    A row without features is a tombstone.
    """
    table = VIEWS[name]
    schema = arrow_schema(table)
    uri = str(home / "tables" / name)
    if not DeltaTable.is_deltatable(uri):
        Path(uri).mkdir(parents=True)
        DeltaTable.create(uri, schema=schema, name=name, configuration=configuration(table))
    columns = {c.name: [row.get(c.name) for row in rows] for c in table.columns}
    times = {
        t: [START_US + int(row[t.partition("_")[0]] * DAY_US) for row in rows]
        for t in ("event_timestamp", "created_timestamp")
    }
    hashes = [0 if all(row.get(c.name) is None for c in table.values) else 1 for row in rows]
    arrays = {**columns, **times, "value_hash": hashes}
    plain = {
        f.name: pa.array(arrays[f.name], pa.int64() if pa.types.is_timestamp(f.type) else f.type)
        for f in schema
    }
    write_deltalake(
        uri,
        pa.table({f.name: plain[f.name].cast(f.type) for f in schema}, schema=schema),
        mode="append",
    )


def topics(video: str, *ids: int, event: float, created: float | None = None) -> dict:
    """A row of video_topics; no ids: a tombstone."""
    row = {"video_id": video, "event": event, "created": event if created is None else created}
    if not ids:
        return row
    weights = [0.9 - 0.1 * i for i in range(len(ids))]
    return row | {
        "topic_ids": [*ids, *[-1] * (8 - len(ids))],
        "topic_weights": [*weights, *[0.0] * (8 - len(ids))],
        "parent_topic_ids": [*[1] * len(ids), *[-1] * (8 - len(ids))],
        "topic_count": len(ids),
        "below_threshold": False,
        "topic_epoch": 1,
    }


def statistics(
    video: str, exposures: int, clicks: int, *, event: float, created: float | None = None
) -> dict:
    """A row of video_statistics."""
    return {
        "video_id": video,
        "event": event,
        "created": event if created is None else created,
        "video_exposures": exposures,
        "video_clicks": clicks,
    }


def user_rows(name: str) -> list[dict]:
    """A row of a view of users, which holds from day 1: the user `u`."""
    lists = {"list<int64>": [2, 1], "list<float32>": [0.5, 0.25], "list<string>": ["b", "a"]}
    numbers = {"int64": 5, "float32": 0.5}
    values = {c.name: (lists | numbers)[c.type] for c in VIEWS[name].values}
    return [{"user_id": "u", **values, "event": 1, "created": 1}]


def fill(home: Path) -> None:
    """Two videos and a user in every view; `b` ended on day 3, `a` was corrected for day 1."""
    for name, table in VIEWS.items():
        if table.view and table.view.entity == "user":
            write(home, name, user_rows(name))
    write(home, "video_topics", [topics("a", 7, 3, event=1), topics("b", 5, event=1)])
    write(home, "video_topics", [topics("a", 8, event=1, created=2), topics("b", event=3)])
    write(
        home, "video_statistics", [statistics("a", 10, 2, event=1), statistics("b", 4, 1, event=1)]
    )
    vector = [0.6, 0.8]
    write(
        home,
        "video_tag_embedding",
        [
            {"video_id": v, "tag_embedding": vector, "tag_count": 2, "event": 1, "created": 1}
            for v in "ab"
        ],
    )
    joint = {"joint_embedding": vector, "content_blocks": 3, "encoder_version": "é1"}
    write(
        home,
        "video_joint_representation",
        [{"video_id": v, **joint, "event": 1, "created": 1} for v in "ab"],
    )
