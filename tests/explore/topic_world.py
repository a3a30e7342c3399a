"""A home of six videos and three topics, published by hand (no Spark), and its page.

Topics by place: 4, 7, 9. Videos by place (first topic, falling weight, id): b a | c/ç ?# d e.
"""

from __future__ import annotations

import json
import re
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
            "content_hash": {"d": "a"}.get(v, v),
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
            "parent_topic_ids": [1] * len(slots) + [-1] * (8 - len(slots)),
            "topic_count": len(slots),
            "below_threshold": slots[0][1] < 0.3,
            "topic_epoch": epoch,
        }
        for v, slots in given.items()
    ]


def release(tables: Tables, at: int = T, epoch: int = 3, model: int = 0) -> None:
    quality = {"topic_epoch": epoch, "topic_model": model}
    release_tables(tables, as_of_us=at, created_us=at + HOUR, settings="", quality=quality)


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
                "queue_level": "topic",
                "queue_position": i + 1,
                "queue_ctr": r,
                "queue_exposures": e,
                "queue_clicks": r * e,
                "fresh": f,
                "topic_epoch": 3,
            }
            for t, queue in QUEUES.items()
            for i, (v, r, e, f) in enumerate(queue)
        ]
        publish_snapshot(tables, contracts.TOPIC_QUEUES, places[::-1])
    release(tables)
    return tables


# Video -> tag block and joint block; a zero one is none. Centres of 4, 7, 9 have the tag blocks
# [1], [.6], [0] and the joint blocks [0, 0], [.8, 0], [0, 1].
BLOCKS = {
    "a": ([1], [0, 1]),
    "b": ([1], [1, 0]),
    "c/ç ?#": ([1], [0.6, 0.8]),
    "d": ([0], [1, 0]),
    "e": ([1], [0, 0]),
    "f": ([1], [1, 0]),
}


def vectors(tables: Tables, model: int = 0) -> None:
    """Both blocks of all videos, published twice: of each the later value counts; released."""
    for at, blocks in ((T - DAY, dict.fromkeys(BLOCKS, ([1], [0, 1]))), (T, BLOCKS)):
        tags = [
            {"video_id": v, "tag_embedding": tag, "tag_count": tag[0]}
            for v, (tag, _) in blocks.items()
        ]
        joint = [
            {
                "video_id": v,
                "joint_embedding": z,
                "content_blocks": int(any(z)),
                "encoder_version": "1",
            }
            for v, (_, z) in blocks.items()
        ]
        publish(tables, contracts.VIDEO_TAG_EMBEDDING, tags, at=at, tag_width=1)
        publish(tables, contracts.VIDEO_JOINT_REPRESENTATION, joint, at=at, joint_width=2)
    release(tables, model=model)


DAY = 24 * HOUR
NEXT_DAY = {
    "a": [(4, 0.75)],
    "b": [(4, 0.9375)],
    "c/ç ?#": [(4, 0.875), (7, 0.625)],
    "d": [(12, 0.75)],
    "e": [(12, 0.5)],
    "g": [(12, 0.625)],
}


def next_day(tables: Tables) -> None:
    """A second release: 7 retires, 12 is born, `g` arrives, c moves to 4, d and e to 12."""
    arrival = {
        "video_id": "g",
        "title": "Goat",
        "cover": "",
        "primary_classes": ["goats"],
        "secondary_classes": [],
        "published_at": day(9),
        "removed_at": None,
        "content_hash": "g",
    }
    publish_timed(tables, contracts.VIDEO_CATALOG, [arrival], [day(9)])
    centroids = {4: [1.0, 0.0, 0.0], 9: [0.0, 0.0, 1.0], 12: [0.6, 0.8, 0.0]}
    records = [
        {
            "topic_id": t,
            "centroid": c,
            "size": 1,
            "label_terms": {4: ["cat"], 9: [], 12: ["goat"]}[t],
            "topic_epoch": 3,
            "born": day(9) if t == 12 else day(3),
            "retired": None,
        }
        for t, c in centroids.items()
    ]
    publish(tables, contracts.TOPICS, records, at=T + DAY, topic_width=3)
    publish(tables, contracts.VIDEO_TOPICS, assigned(NEXT_DAY), at=T + DAY)
    counts = [
        {"video_id": v, "video_exposures": e + 10, "video_clicks": c + 1}
        for v, (e, c, _) in COUNTS.items()
    ]
    publish(tables, contracts.VIDEO_STATISTICS, counts, at=T + DAY)
    release(tables, T + DAY)


def page_data(page: Path) -> tuple[dict, dict]:
    """The page's own data and its parts by name, wherever they lie."""
    text = page.read_text(encoding="utf-8")
    elements = re.findall(r'<script type="application/json" ([^>]*)>(.*?)</script>', text, re.S)
    index = next(json.loads(content) for name, content in elements if name == 'id="data"')
    if index["folder"] is None:
        inline = [(re.fullmatch('data-part="(.*)"', name), content) for name, content in elements]
        return index, {name[1]: json.loads(content) for name, content in inline if name}
    folder = page.parent / index["folder"]
    scripts = {p: p.read_text(encoding="utf-8") for p in folder.rglob("*.js")}
    calls = {p: re.fullmatch(r"part\('(.*?)',(.*)\);\n", text, re.S) for p, text in scripts.items()}
    assert all(
        call[1] == p.relative_to(folder).with_suffix("").as_posix() for p, call in calls.items()
    )
    return index, {call[1]: json.loads(call[2]) for call in calls.values()}
