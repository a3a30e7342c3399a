"""Vectors of a release in memory, and the nearest among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import (
    VIDEO_CATALOG,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    Table,
)
from vidtopics.errors import TableError, explain
from vidtopics.settings import Space
from vidtopics.tables import Tables
from vidtopics.tables.releases import Release, read_log

COLUMNS: Mapping[Space, tuple[Table, str, str]] = {
    "joint": (VIDEO_JOINT_REPRESENTATION, "joint_embedding", "content_blocks"),
    "tag": (VIDEO_TAG_EMBEDDING, "tag_embedding", "tag_count"),
}
"""The table and vector of each space, and the column that is 0 where a video has none."""
ROWS = 8_192
"""That are widened at a time; float16 has no product of its own in numpy."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The vectors of one space: 2 D bytes a video, and its id.

    Attributes:
        ids: of N videos.
        unit: float16[N, D], of length 1 up to a thousandth.

    >>> unit = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float16)
    >>> [(i, round(cosine, 2)) for i, cosine in Neighbours(["a", "b", "c"], unit).near(["a"], 2)]
    [('c', 0.6), ('b', 0.0)]
    """

    ids: Sequence[str]
    unit: NDArray[np.float16]

    @classmethod
    def of(cls, ids: Sequence[str], vectors: pa.ChunkedArray) -> Self:
        """From a column of lists of one length, none of them zero."""
        parts = [
            chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), -1)
            for chunk in vectors.chunks
            if len(chunk)
        ]
        unit = [(part / np.linalg.norm(part, axis=1, keepdims=True)).astype("f2") for part in parts]
        return cls(ids, np.concatenate(unit) if unit else np.zeros((0, 1), np.float16))

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each video."""
        return {video: row for row, video in enumerate(self.ids)}

    def near(self, video_ids: Sequence[str], limit: int) -> list[tuple[str, float]]:
        """The videos nearest to the mean direction of some, those left out, by falling cosine.

        Args:
            video_ids: that have a row; one at least.
            limit: videos at most.
        """
        rows = np.array([self.row_of[video] for video in video_ids])
        query = self.unit[rows].astype(np.float32).sum(0)
        query /= max(float(np.linalg.norm(query)), np.finfo(np.float32).tiny)
        cosines = np.empty(len(self.ids), np.float32)
        for start in range(0, len(cosines), ROWS):
            part = self.unit[start : start + ROWS].astype(np.float32)
            cosines[start : start + ROWS] = part @ query
        cosines[rows] = -np.inf
        limit = min(limit, len(cosines) - len(set(video_ids)))
        best = np.argpartition(-cosines, limit - 1)[:limit] if limit else np.zeros(0, np.int64)
        best = best[np.argsort(-cosines[best], kind="stable")]
        return [(self.ids[row], float(cosines[row])) for row in best.tolist()]


def read_neighbours(
    tables: Tables, spaces: Sequence[Space], release: int
) -> dict[Space, Neighbours]:
    """The vectors of a release in some spaces, of videos that aren't taken down.

    Raises:
        TableError: the tables don't have the release, or can't be read.
    """
    if not spaces:
        return {}
    log = [row for row in read_log(tables) if row.release_id == release]
    if not log:
        raise TableError(
            explain(
                f"{tables.home}, table releases",
                expected=f"release {release}, which is live in Redis",
                found="none of that number",
                mend="serve from the home that the release was loaded from",
            )
        )
    shown = _shown(tables, log[0])
    return {space: _read(tables, log[0], space, shown) for space in spaces}


def _shown(tables: Tables, release: Release) -> pa.Array:
    """Videos of the catalogue that aren't taken down as of the release."""
    version = release.versions.get(VIDEO_CATALOG.name)
    columns = ["video_id", "removed_at"]
    rows = tables.as_of(VIDEO_CATALOG, release.as_of_us, columns=columns, version=version)
    removed_us = pc.fill_null(rows["removed_at"].cast(pa.int64()), 2**62)
    shown = rows.filter(pc.greater(removed_us, release.as_of_us))
    return shown["video_id"].combine_chunks()


def _read(tables: Tables, release: Release, space: Space, shown: pa.Array) -> Neighbours:
    table, vector, present = COLUMNS[space]
    rows = tables.as_of(
        table,
        release.as_of_us,
        columns=["video_id", vector, present],
        version=release.versions.get(table.name),
    )
    in_use = pc.and_(pc.greater(rows[present], 0), pc.is_in(rows["video_id"], value_set=shown))
    rows = rows.filter(in_use)
    return Neighbours.of(rows["video_id"].to_pylist(), rows[vector])
