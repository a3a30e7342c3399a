"""Seeded rows of the views, made a column at a time."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, TOPIC_SLOTS, VALUE_HASH, Column, Table
from vidtopics.tables.schemas import arrow_schema

Slots = Literal["full", "mixed"]
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01
TOPICS = 6_000  # paper, IV-B
PARENTS = 77  # about the square root
WIDTHS = {"tag_width": 128, "joint_width": 512}  # the demo's
CODE = "1f0c2b3a4d5e6f70"


def video_ids(numbers: NDArray[np.int64]) -> pa.Array:
    """`v0000007` for 7.

    >>> video_ids(np.array([7])).to_pylist()
    ['v0000007']
    """
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 7, "0")
    return pc.binary_join_element_wise("v", digits, "")


def rows(
    table: Table,
    ids: pa.Array,
    event_us: NDArray[np.int64],
    created_us: NDArray[np.int64],
    *,
    seed: int,
    slots: Slots = "full",
) -> pa.Table:
    """Rows of a view as its Delta table holds them.

    Args:
        table: the view's contract.
        ids: N videos.
        event_us: int64[N].
        created_us: int64[N].
        seed: of the features.
        slots: `full`: all eight topic slots in use; `mixed`: 1 to 8, each as often.

    >>> from vidtopics.contracts import VIDEO_TOPICS
    >>> once = np.array([START_US])
    >>> rows(VIDEO_TOPICS, video_ids(np.array([1])), once, once, seed=1)["topic_count"].to_pylist()
    [8]
    """
    rng = np.random.default_rng(seed)
    count = (
        rng.integers(1, TOPIC_SLOTS + 1, len(ids))
        if slots == "mixed"
        else np.full(len(ids), TOPIC_SLOTS)
    )
    columns = {c.name: _column(c, rng, count) for c in table.values}
    columns |= {
        table.key[0]: ids,
        EVENT_TIME: pa.array(event_us),
        CREATED_TIME: pa.array(created_us),
    }
    columns[VALUE_HASH] = pa.array(rng.integers(1, 2**62, len(ids)))
    schema = arrow_schema(table)
    return pa.table({f.name: columns[f.name].cast(f.type) for f in schema}, schema=schema)


def _column(column: Column, rng: np.random.Generator, count: NDArray[np.int64]) -> pa.Array:
    """A feature of N rows; `count`: int64[N], topics in use."""
    rows, used = len(count), np.arange(TOPIC_SLOTS) < count[:, None]
    plain = {
        "topic_ids": lambda: _lists(np.where(used, rng.integers(0, TOPICS, used.shape), -1)),
        "topic_weights": lambda: _lists(
            np.where(used, -np.sort(-rng.uniform(0.6, 1, used.shape)), 0)
        ),
        "parent_topic_ids": lambda: _lists(
            np.where(used, rng.integers(0, PARENTS, used.shape), -1)
        ),
        "topic_count": lambda: pa.array(count),
        "topic_epoch": lambda: pa.array(np.ones(rows, np.int64)),
        "below_threshold": lambda: pa.array(rng.random(rows) < 0.05),
        "encoder_version": lambda: pa.array([CODE] * rows),
        "video_exposures": lambda: pa.array(rng.integers(0, 100_000, rows)),
        "video_clicks": lambda: pa.array(rng.integers(0, 10_000, rows)),
        "tag_count": lambda: pa.array(rng.integers(1, 20, rows)),
        "content_blocks": lambda: pa.array(np.full(rows, 3)),
    }
    if column.name in plain:
        return plain[column.name]()
    if column.width is None:
        return _of_user(column, rng, rows)
    vectors = rng.standard_normal((rows, WIDTHS[str(column.width)]), np.float32)
    return _lists(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _of_user(column: Column, rng: np.random.Generator, rows: int) -> pa.Array:
    """A feature of N users: counts, and lists of what a user of 64 impressions may have."""
    kind = column.type.removeprefix("list<").removesuffix(">")
    lengths = {"user_topic": 24, "user_parent": 8}
    length = next((n for stem, n in lengths.items() if column.name.startswith(stem)), 32)
    shape = (rows, length) if kind != column.type else (rows,)
    if kind == "string":
        items = video_ids(rng.integers(0, 1_000_000, rows * length))
        return pa.ListArray.from_arrays(np.arange(0, len(items) + 1, length, dtype=np.int32), items)
    values = rng.integers(0, TOPICS, shape)
    if "times" in column.name or column.name.endswith("_at"):
        values = START_US + values
    numbers = values.astype(np.float32) / 8 if kind == "float32" else values
    return _lists(numbers) if len(shape) == 2 else pa.array(numbers)


def _lists(values: NDArray[np.generic]) -> pa.ListArray:
    """[N, W] as N lists."""
    ends = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, values.ravel())
