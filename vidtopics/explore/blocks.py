"""Why a video is where it is: its tag block and its joint block, each against centres and videos.

A centre has two blocks as well. The cosine of the same blocks says which of them brought a video to
a topic, and a video's nearest by each block, among those of the same first topic, what it was taken
to be like. Vectors lie in a scratch file by place, float16, so that a topic's are read at once.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from vidtopics.contracts import (
    CREATED_TIME,
    EVENT_TIME,
    VALUE_HASH,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    Table,
)
from vidtopics.explore.numbering import SCALE
from vidtopics.explore.released import Workspace
from vidtopics.topic_models import load

COLUMNS = (
    (VIDEO_TAG_EMBEDDING, "tag_embedding"),
    (VIDEO_JOINT_REPRESENTATION, "joint_embedding"),
)
NEAREST = 4
"""Neighbours of a video by each block."""
CELLS = 4_000_000
"""Cosines that are held at a time."""
LISTED = 200
SCAN_ROWS = 4_096
ALIKE = 0.98
"""Cosine of two joint blocks from which two videos are shown as nearly the same."""
NOTHING = -SCALE - 1
"""Stands for the cosine of a block that a video doesn't have."""

_CHOSEN = f"""
SELECT row, v FROM (
  SELECT row, video_id, {VALUE_HASH} FROM narrow
  WHERE {EVENT_TIME} <= make_timestamptz({{as_of_us}})
  QUALIFY row_number() OVER (
    PARTITION BY video_id ORDER BY {EVENT_TIME} DESC, {CREATED_TIME} DESC) = 1)
JOIN place USING (video_id) WHERE {VALUE_HASH} IS DISTINCT FROM 0 ORDER BY row"""


class Pairs(Protocol):
    """Pairs of places that nearly coincide, by falling cosine."""

    @property
    def first(self) -> NDArray[np.int64]:
        """The first place of each pair, int64[P]."""

    @property
    def second(self) -> NDArray[np.int64]:
        """The second, int64[P]."""

    @property
    def cosines(self) -> NDArray[np.float32]:
        """Their cosine, float32[P], falling."""

    @property
    def recall(self) -> float:
        """Share of the exact neighbours that were looked at."""


FindPairs = Callable[[NDArray[np.float16], float], Pairs]
"""Pairs of rows of [N, D] whose cosine is at least a limit: `producers.topics.neighbours` has it,
which this package doesn't import."""


@dataclass
class Block:
    """One block of all videos by place, float16[N, width] of length 1 or zero; and of centres."""

    vectors: NDArray[np.float16]
    centres: NDArray[np.float32]

    def cosines(self, places: NDArray[np.int64], topics: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of pairs of video and topic, in ten-thousandths; :data:`NOTHING` without the block."""
        rows = self.vectors[places].astype(np.float32)
        values = np.einsum("nd,nd->n", rows, self.centres[topics])
        return np.where(rows.any(axis=1), np.rint(values * SCALE), NOTHING).astype(np.int64)

    def nearest(self, asked: range, topic: range) -> NDArray[np.int64]:
        """Places of the nearest videos of a topic to each of some of its videos.

        Args:
            asked: places of these videos.
            topic: places of all videos of the topic.

        Returns:
            Places, int64[len(asked), NEAREST], the nearest first, -1 where there are no more.

        >>> vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float16)
        >>> block = Block(vectors, np.eye(2, dtype=np.float32))
        >>> block.nearest(range(2), range(4)).tolist()
        [[2, 1, -1, -1], [2, 0, -1, -1]]
        """
        all_rows = self.vectors[topic.start : topic.stop].astype(np.float32)
        is_absent: NDArray[np.bool_] = np.asarray(~all_rows.any(axis=1))
        places = np.full((len(asked), NEAREST), -1)
        if not topic:
            return places
        count = min(NEAREST, len(topic))
        step = max(1, CELLS // len(topic))
        for first in range(0, len(asked), step):
            own = np.arange(first, min(first + step, len(asked))) + asked.start - topic.start
            cosines = all_rows[own] @ all_rows.T
            cosines[:, is_absent] = -np.inf
            cosines[is_absent[own]] = -np.inf
            cosines[np.arange(len(own)), own] = -np.inf
            order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
            rows = slice(first, first + len(own))
            values = np.take_along_axis(cosines, order, axis=1)
            places[rows, :count] = np.where(np.isfinite(values), order + topic.start, -1)
        return places


@dataclass
class Blocks:
    """Both blocks of a release's videos, and what was noticed as parts were made.

    `disagreeing`: size of the difference, and place.
    """

    work: Workspace
    tag: Block
    joint: Block
    disagreeing: list[tuple[int, int]] = field(default_factory=list)

    def alike(self, find_pairs: FindPairs) -> Pairs:
        """Pairs of places whose cover and title are nearly the same, whatever their topics."""
        return find_pairs(self.joint.vectors, ALIKE)

    def of_parts(self, first: int, last: int) -> dict[int, str]:
        """Members of the parts of videos from `first` up to before `last`, by part.

        `tag` and `joint`: cosine to the centre of each of a video's topics, null without the block;
        `near_tag` and `near_joint`: places of the nearest videos of the same first topic.
        """
        sql = f"SELECT part, min(v), max(v) + 1 FROM video WHERE part >= {first} AND part < {last}"
        ranges = self.work.con.execute(f"{sql} GROUP BY part ORDER BY part").fetchall()
        return {part: self._member(start, end) for part, start, end in ranges}

    def _member(self, start: int, end: int) -> str:
        sql = f"SELECT v, t FROM member WHERE v >= {start} AND v < {end} ORDER BY v, slot"
        columns = self.work.integers(sql)
        places, topics = columns["v"], columns["t"]
        tag, joint = (block.cosines(places, topics) for block in (self.tag, self.joint))
        is_first = np.diff(places, prepend=-1) != 0
        has_both = is_first & (tag != NOTHING) & (joint != NOTHING)
        differences = np.abs(tag - joint)[has_both]
        largest = np.argsort(-differences, kind="stable")[:LISTED]
        pairs = zip(differences[largest].tolist(), places[has_both][largest].tolist(), strict=True)
        self.disagreeing = heapq.nlargest(LISTED, [*self.disagreeing, *pairs], _size_then_place)
        bounds = np.searchsorted(places, np.arange(start, end + 1))
        members: dict[str, Sequence[Sequence[int | None]]] = {
            "tag": _lists(tag, bounds),
            "joint": _lists(joint, bounds),
        }
        topic = self._topic(start)
        for name, block in (("near_tag", self.tag), ("near_joint", self.joint)):
            near = block.nearest(range(start, end), topic)
            members[name] = [[place for place in row if place >= 0] for row in near.tolist()]
        return json.dumps(members, separators=(",", ":"))[1:-1]

    def _topic(self, place: int) -> range:
        """Places of the videos of a video's first topic; none for a video without one."""
        shelf = "SELECT t, start, start + videos FROM shelf WHERE videos > 0 AND start <= $place"
        sql = f"{shelf} ORDER BY start DESC LIMIT 1"
        topic, start, end = self.work.con.execute(sql, {"place": place}).fetchall()[0]
        return range(start, end) if topic < len(self.tag.centres) else range(place, place)


def _size_then_place(entry: tuple[float, ...]) -> tuple[float, ...]:
    """The order of what was noticed: greatest first, ties by place."""
    return entry[0], *(-place for place in entry[1:])


def read_blocks(work: Workspace, centroids: NDArray[np.float32], scratch: Path) -> Blocks | None:
    """Both blocks of the release's videos; None where it doesn't have the vectors.

    Args:
        work: the release's tables; `place` has the videos' places.
        centroids: float32[K, d + D].
        scratch: folder of the scratch files, 2 (d + D) bytes for a video.
    """
    widths = [_width(work, table, column) for table, column in COLUMNS]
    if not all(widths) or sum(widths) != centroids.shape[1]:
        return None
    means = [_tag_mean(work, widths[0]), np.zeros(widths[1], np.float32)]
    tag, joint = (
        Block(_by_place(work, table, column, mean, scratch), _unit(centres))
        for (table, column), mean, centres in zip(
            COLUMNS, means, np.split(centroids, widths[:1], axis=1), strict=True
        )
    )
    return Blocks(work, tag, joint)


def _tag_mean(work: Workspace, width: int) -> NDArray[np.float32]:
    """What the release's topic model subtracts from unit tag blocks, float32[width]."""
    if not (number := work.release.topic_model):
        return np.zeros(width, np.float32)
    return np.asarray(load(work.tables.home, number).arrays["tag_mean"], np.float32)


def _width(work: Workspace, table: Table, column: str) -> int:
    """How many numbers its vectors have; 0 without rows."""
    first = work.dataset(table).head(1, columns=[column])
    return len(first[column][0]) if len(first) else 0


def _by_place(
    work: Workspace, table: Table, column: str, mean: NDArray[np.float32], scratch: Path
) -> NDArray[np.float16]:
    """A column of vectors less their mean at length 1, by place of the video, in a scratch file."""
    videos = work.number("SELECT count(*) FROM place")
    vectors = np.memmap(scratch / column, np.float16, "w+", shape=(max(videos, 1), len(mean)))
    dataset = work.dataset(table)
    numbers, places = _latest(work, dataset)
    start = 0
    for batch in dataset.scanner([column], batch_size=SCAN_ROWS).to_batches():
        low, high = np.searchsorted(numbers, [start, start + len(batch)])
        if high > low:
            rows = _matrix(batch[column].take(pa.array(numbers[low:high] - start)))
            vectors[places[low:high]] = _centred(_unit(rows), mean)
        start += len(batch)
    return vectors


def _latest(work: Workspace, dataset: ds.Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the rows that hold as of the release, ascending, and their videos' places."""
    names = ["video_id", EVENT_TIME, CREATED_TIME, VALUE_HASH]
    batches = dataset.scanner(names, batch_size=SCAN_ROWS).to_batches()
    schema = pa.schema([*(dataset.schema.field(name) for name in names), ("row", pa.int64())])
    work.con.register("narrow", pa.RecordBatchReader.from_batches(schema, _numbered(batches)))
    chosen = work.integers(_CHOSEN.format(as_of_us=work.release.as_of_us))
    work.con.unregister("narrow")
    return chosen["row"], chosen["v"]


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in batches:
        numbers = pa.array(np.arange(start, start + len(batch)))
        yield pa.record_batch([*batch.columns, numbers], names=[*batch.schema.names, "row"])
        start += len(batch)


def _lists(values: NDArray[np.int64], bounds: NDArray[np.int64]) -> list[list[int | None]]:
    """Values between bounds as lists, :data:`NOTHING` as None.

    >>> _lists(np.array([7, NOTHING, 3]), np.array([0, 2, 2, 3]))
    [[7, None], [], [3]]
    """
    numbers = [None if value == NOTHING else value for value in values.tolist()]
    return [numbers[low:high] for low, high in pairwise(bounds.tolist())]


def _matrix(column: pa.Array) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), -1)


def _centred(unit: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows less their mean, at length 1 again; zero rows stay.

    >>> rows = np.array([[1, 0], [0, 0]], np.float32)
    >>> _centred(rows, np.array([0.5, 0.5], np.float32)).astype(float).round(3).tolist()
    [[0.707, -0.707], [0.0, 0.0]]
    """
    return _unit(np.where(np.any(unit, axis=1, keepdims=True), unit - mean, np.float32(0)))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at length 1, zero where there is none."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return unit
