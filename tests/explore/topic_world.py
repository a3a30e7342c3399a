"""A home of six videos and three topics, published by hand (no Spark), and its page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from PIL import Image

from benchmarks.homes import release_tables
from vidtopics import contracts
from vidtopics.contracts import Table
from vidtopics.tables import Commit, Tables, deltalake_engine, micros
from vidtopics.tables.schemas import arrow_schema

T = micros(datetime(2026, 1, 8, tzinfo=UTC))
HOUR = 3_600_000_000
# Whatever would run, break out of the data, or end a line of JavaScript.
EVIL = (
    "</script><script>document.title='owned'</script>"
    "<img src=x onerror=document.title='owned'>\u2028{{DATA}}"
)
TITLES = {
    "a": "Big cat",
    "b": "Cat sleeps",
    "c/ç ?#": EVIL,
    "d": "Dog runs",
    "e": "Émile the dog",
    "f": "Removed",
}
# Video -> topics and weights. Topic 9 carries no video.
TOPICS_OF = {
    "a": [(4, 0.75)],
    "b": [(4, 0.9375), (7, 0.5)],
    "c/ç ?#": [(7, 0.875), (4, 0.625)],
    "d": [(7, 0.8125)],
    "e": [(7, 0.25)],
}
# Video -> exposures, clicks, smoothed rate (clicks + 2) / (exposures + 10): 20 of 100 are clicked.
COUNTS = {"a": (30, 3, 0.125), "b": (10, 5, 0.35), "c/ç ?#": (0, 0, 0.2), "d": (60, 12, 0.2)}
# Topic -> video, rate, exposures, fresh. Neither the order of weights nor that of ids.
QUEUES = {
    4: [("b", 0.35, 10, False), ("c/ç ?#", 0.2, 0, True), ("a", 0.12, 30, False)],
    7: [("d", 0.21, 60, False)],
}


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def rows(table: Table, records: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(records, schema=arrow_schema(table, table.columns))


def publish(
    tables: Tables,
    table: Table,
    records: list[dict],
    *,
    at: int = T,
    created: int | None = None,
    **widths: int,
) -> None:
    """Values of a history table, by the real publishing with deltalake's engine."""
    commit = Commit(table.name, at, at + HOUR if created is None else created)
    tables.publish(replace(table, engine="deltalake"), rows(table, records), commit, widths=widths)


def publish_timed(tables: Tables, table: Table, records: list[dict], times: list[datetime]) -> None:
    """Rows with times of their own: catalogue and tags."""
    added = [
        {**row, "event_timestamp": t, "created_timestamp": t}
        for row, t in zip(records, times, strict=True)
    ]
    schema = pa.schema([f for f in arrow_schema(table) if f.name != "value_hash"])
    timed = pa.Table.from_pylist(added, schema=schema)
    tables.publish(
        table, timed, Commit(f"ingest_{table.name}", T, T), changes=table.kind == "history"
    )


def publish_snapshot(tables: Tables, table: Table, records: list[dict]) -> None:
    """The first version of a snapshot table."""
    timed = [{**row, "event_timestamp": T, "created_timestamp": T + HOUR} for row in records]
    batches = pa.Table.from_pylist(timed, schema=arrow_schema(table)).to_batches()
    commit = Commit(
        table.name, T, T + HOUR, rows=len(records), created_min_us=T + HOUR, content="1", ordinal=1
    )
    deltalake_engine.append(table, tables.delta(table, create=True), iter(batches), commit)


def catalog(tables: Tables, folder: Path) -> None:
    """Six videos of which `f` is removed; `d` has a damaged cover, `e` a path where nothing is."""
    folder.mkdir()
    covers = {"e": str(folder / "gone.jpg")}
    for i, video in enumerate("abcd"):
        Image.new("RGB", (160, 160), (40 * i, 120, 200)).save(folder / f"{video}.png")
        covers[video] = str(folder / f"{video}.png")
    covers["c/ç ?#"] = covers.pop("c")
    (folder / "d.png").write_bytes(b"no image")
    records = [
        {
            "video_id": v,
            "title": title,
            "cover": covers.get(v, ""),
            "primary_classes": ["dogs" if v in "de" else "cats"],
            "secondary_classes": ["pets"],
            "published_at": day(1),
            "removed_at": day(5) if v == "f" else None,
            "content_hash": v,
        }
        for v, title in TITLES.items()
    ]
    publish_timed(tables, contracts.VIDEO_CATALOG, records, [day(1)] * len(records))
    tags = [
        {"video_id": "b", "tag": "sofa", "spelling": "sofa", "source": "catalogue"},
        {"video_id": "b", "tag": "<b>nap</b>", "spelling": "<b>nap</b>", "source": "tags"},
        {"video_id": "a", "tag": "late", "spelling": "late", "source": "tags"},
    ]
    publish_timed(
        tables, contracts.VIDEO_TAGS, tags, [day(2), day(2), day(9)]
    )  # the last one after T: not yet seen


def topics(tables: Tables) -> None:
    """Three living topics and a retired one."""
    centroids = {4: [1.0, 0.0, 0.0], 7: [0.6, 0.8, 0.0], 9: [0.0, 0.0, 1.0], 2: [0.0, 1.0, 0.0]}
    terms = {4: ["cat", "sofa", "fur"], 7: ["dog", "naïve"], 9: [], 2: ["gone"]}
    records = [
        {
            "topic_id": t,
            "centroid": c,
            "size": len(terms[t]),
            "label_terms": terms[t],
            "topic_epoch": 3,
            "born": day(3),
            "retired": day(8) if t == 2 else None,
        }
        for t, c in centroids.items()
    ]
    publish(tables, contracts.TOPICS, records, topic_width=3)


def assigned(given: dict[str, list[tuple[int, float]]], epoch: int = 3) -> list[dict]:
    """Rows of video_topics; a weight below 0.3 counts as below the threshold."""
    return [
        {
            "video_id": v,
            "topic_ids": [t for t, _ in slots] + [-1] * (8 - len(slots)),
            "topic_weights": [w for _, w in slots] + [0.0] * (8 - len(slots)),
            "topic_count": len(slots),
            "below_threshold": slots[0][1] < 0.3,
            "topic_epoch": epoch,
        }
        for v, slots in given.items()
    ]


def release(tables: Tables, at: int = T, epoch: int = 3) -> None:
    release_tables(
        tables, as_of_us=at, created_us=at + HOUR, settings="", quality={"topic_epoch": epoch}
    )


def build(home: Path, *, queues: bool = True) -> Tables:
    """The home, released once."""
    tables = Tables(home)
    home.mkdir()
    catalog(tables, home / "covers")
    topics(tables)
    publish(tables, contracts.VIDEO_TOPICS, assigned(TOPICS_OF))
    counts = [
        {"video_id": v, "video_exposures": e, "video_clicks": c} for v, (e, c, _) in COUNTS.items()
    ]
    publish(tables, contracts.VIDEO_STATISTICS, counts)
    if queues:
        places = [
            {
                "topic_id": t,
                "video_id": v,
                "queue_position": i + 1,
                "queue_ctr": r,
                "queue_exposures": e,
                "fresh": f,
                "topic_epoch": 3,
            }
            for t, queue in QUEUES.items()
            for i, (v, r, e, f) in enumerate(queue)
        ]
        publish_snapshot(tables, contracts.TOPIC_QUEUES, places[::-1])
    release(tables)
    return tables
