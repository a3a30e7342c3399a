"""Small worlds of feature and spine rows, what a plain loop makes of them, and their tables.

Times are microseconds after START. A value of None is a tombstone; other values are numbers that
all features of a row are made of.
"""

import random
from datetime import timedelta
from typing import NamedTuple

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Column, Table, View
from vidtopics.tables.schemas import ARROW, TIMESTAMP

# 2026-01-01: beyond 2^50, where a float32 of seconds or a float64 of days has no microseconds
START = 1_767_225_600_000_000
TTL = 3


class Row(NamedTuple):
    key: tuple
    event: int
    created: int
    value: int | None


class Ask(NamedTuple):
    """A row of the spine."""

    video: str | None
    user: int | None
    item: int | None
    at: int


class World(NamedTuple):
    videos: list[Row]
    pairs: list[Row]
    spine: list[Ask]


VIDEOS = Table(
    "contract_videos",
    "history",
    ("video_id",),
    engine="deltalake",
    doc="one key, no TTL",
    view=View("video"),
    columns=(
        Column("video_id", "string", ""),
        Column("rate_y", "float64", ""),
        Column("note", "string", "", optional=True),
        Column("slots", "list<int64>", ""),
    ),
)
PAIRS = Table(
    "contract_pairs",
    "history",
    ("user", "item"),
    engine="deltalake",
    doc="two keys and a TTL",
    view=View("pair", ttl=timedelta(microseconds=TTL)),
    columns=(
        Column("user", "int64", ""),
        Column("item", "int64", ""),
        Column("score_y", "int64", ""),
        Column("weights", "list<float32>", ""),
    ),
)
VIEWS = (VIDEOS, PAIRS)
VIDEO_KEYS = ["", "a", "b", "zz"]
SEED = 21
"""Of the random world that Spark writes."""
PAIR_KEYS = [(1, 23), (12, 3), (123, 0)]


def features(view, value):
    """A row's features; `note` is null in every second row, and all are in a tombstone."""
    if view is VIDEOS:
        whole = {
            "rate_y": 0.5 + (value or 0),
            "note": f"n{value}" if (value or 0) % 2 else None,
            "slots": [value, -1],
        }
    else:
        whole = {"score_y": value, "weights": [value, 0.25]}
    return dict.fromkeys(whole) if value is None else whole


def held(rows, key, at, *, known_by, ttl=0):
    """The value at a time, or None: every row is looked at, by the rules of docs/time.md."""
    best = None
    for row in rows:
        if None in key or row.key != key:
            continue
        if row.event > at or (known_by and row.created > at):
            continue
        if best is None or (row.event, row.created) > (best.event, best.created):
            best = row
    if best is None or (ttl and at - best.event > ttl):
        return None
    return best.value


def oracle(world, *, known_by):
    """For each spine row the features of both views."""
    return [
        features(VIDEOS, held(world.videos, (ask.video,), ask.at, known_by=known_by))
        | features(
            PAIRS, held(world.pairs, (ask.user, ask.item), ask.at, known_by=known_by, ttl=TTL)
        )
        for ask in world.spine
    ]


def random_world(seed, size=300):
    """Rows of few keys at few times: they tie, come late, end and pass their TTL.

    No two have the same (key, event, created).
    """
    draw = random.Random(seed)

    def rows(keys):
        row_of_key = {}
        for _ in range(size):
            key, event = draw.choice(keys), draw.randrange(30)
            row = Row(key, event, event + draw.randrange(-2, 9), draw.choice([None, *range(9)]))
            row_of_key[row[:3]] = row
        return list(row_of_key.values())

    videos, pairs = [*VIDEO_KEYS, None], [*PAIR_KEYS, (1, None)]
    asks = (
        Ask(draw.choice(videos), *draw.choice(pairs), draw.randrange(-1, 40)) for _ in range(size)
    )
    return World(rows([(video,) for video in videos]), rows(pairs), list(asks))


def spine_table(world):
    """The spine as Arrow, with the number of each row."""
    columns = {
        "row_no": pa.array(range(len(world.spine)), pa.int64()),
        "video_id": pa.array([ask.video for ask in world.spine], pa.string()),
        "user": pa.array([ask.user for ask in world.spine], pa.int64()),
        "item": pa.array([ask.item for ask in world.spine], pa.int64()),
        EVENT_TIME: times([ask.at for ask in world.spine]),
    }
    return pa.table(columns)


def view_table(view, rows):
    """A view's rows as Arrow."""
    columns = {name: [row.key[i] for row in rows] for i, name in enumerate(view.key)}
    columns |= {c.name: [features(view, row.value)[c.name] for row in rows] for c in view.values}
    arrays = {c.name: pa.array(columns[c.name], ARROW[c.type]) for c in view.columns}
    return pa.table(
        arrays
        | {
            EVENT_TIME: times([r.event for r in rows]),
            CREATED_TIME: times([r.created for r in rows]),
            VALUE_HASH: pa.array([1] * len(rows), pa.int64()),  # no join reads it
        }
    )


def times(values):
    return pa.array([START + v for v in values], pa.int64()).cast(TIMESTAMP)


def create(tables):
    """Empty tables; keys may be null, as in tables that others write."""
    for view in VIEWS:
        DeltaTable.create(tables.uri(view), schema=view_table(view, []).schema, name=view.name)


def fill(tables, world):
    """The world's rows in place of those that the tables held, by deltalake."""
    for view, rows in ((VIDEOS, world.videos), (PAIRS, world.pairs)):
        write_deltalake(tables.uri(view), view_table(view, rows), mode="overwrite")


def fill_by_spark(spark, tables, world, *, files=1):
    """The same by Spark."""
    for view, rows in ((VIDEOS, world.videos), (PAIRS, world.pairs)):
        frame = spark.createDataFrame(view_table(view, rows))
        frame.repartition(files).write.format("delta").mode("overwrite").save(
            str(tables.path(view))
        )
