"""What policies know of the videos of a world, row by row: ids, topics, joint embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import TOPIC_SLOTS, VIDEO_TOPICS
from vidtopics.tables.schemas import arrow_schema

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Catalog:
    """V videos of one epoch of topics.

    Attributes:
        ids: of the videos.
        topics: rows of the view `video_topics`, null for a video without topics of the epoch.
        epoch: of the topics.
        topic_ids, parent_ids: int64[T], int64[P], ascending.
        topic_codes, parent_codes: int32[V, 8], places among these, -1 in unused slots.
        embeddings: float32[V, D], joint embeddings; zero for a video that has none.
    """

    ids: pa.Array
    topics: pa.Table
    epoch: int
    topic_ids: Ints
    parent_ids: Ints
    topic_codes: Codes
    parent_codes: Codes
    embeddings: NDArray[np.float32]

    @classmethod
    def of(
        cls, ids: pa.Array, topics: pa.Table, epoch: int, embeddings: NDArray[np.float32]
    ) -> Catalog:
        """From rows of `video_topics`, one for each video; those of other epochs become null.

        >>> rows = {"topic_ids": [[7, 3] + [-1] * 6, None], "topic_epoch": [1, None]}
        >>> rows |= {"topic_weights": [[0.9, 0.8] + [0.0] * 6, None]}
        >>> rows |= {"parent_topic_ids": [[2, 2] + [-1] * 6, None]}
        >>> catalog = Catalog.of(pa.array(["a", "b"]), pa.table(rows), 1, np.zeros((2, 1)))
        >>> catalog.topic_ids.tolist(), catalog.topic_codes[:, :3].tolist()
        ([3, 7], [[1, 0, -1], [-1, -1, -1]])
        """
        current = pc.fill_null(pc.equal(topics["topic_epoch"], epoch), False)
        rows = pa.array(np.where(current.to_numpy(), np.arange(len(topics)), -1))
        topics = topics.take(pc.if_else(pc.greater_equal(rows, 0), rows, None))
        levels = [_codes(topics[name]) for name in ("topic_ids", "parent_topic_ids")]
        (topic_ids, topic_codes), (parent_ids, parent_codes) = levels
        return cls(ids, topics, epoch, topic_ids, parent_ids, topic_codes, parent_codes, embeddings)

    def without_topics(self) -> Catalog:
        """The same with one topic and one parent that all videos have: nothing tells them apart."""
        slots = [0] + [-1] * (TOPIC_SLOTS - 1)
        row = {
            "topic_ids": slots,
            "topic_weights": [1.0] + [0.0] * (TOPIC_SLOTS - 1),
            "parent_topic_ids": slots,
            "topic_count": 1,
            "below_threshold": False,
            "topic_epoch": self.epoch,
        }
        schema = arrow_schema(VIDEO_TOPICS, VIDEO_TOPICS.values)
        rows = pa.Table.from_pylist([row] * len(self.ids), schema)
        return Catalog.of(self.ids, rows, self.epoch, self.embeddings)

    def with_topics(self, topics: pa.Table, epoch: int) -> Catalog:
        """The same with other rows of `video_topics`."""
        return replace(Catalog.of(self.ids, topics, epoch, self.embeddings))


def _codes(slots: pa.ChunkedArray) -> tuple[Ints, Codes]:
    """Ids, ascending, and the place of each slot's id among them, int32[V, 8]."""
    values: NDArray[Any] = np.full((len(slots), TOPIC_SLOTS), -1)
    valid = pc.is_valid(slots).to_numpy()
    flat = pc.list_flatten(slots.combine_chunks()).to_numpy(zero_copy_only=False)
    values[valid] = flat.reshape(-1, TOPIC_SLOTS)
    ids = np.unique(values[values >= 0]).astype(np.int64)
    codes = np.where(values >= 0, np.searchsorted(ids, values), -1).astype(np.int32)
    return ids, codes
