"""Encoder outputs of videos, gathered from the table a few rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.errors import TableError, explain
from vidtopics.files import empty_rows
from vidtopics.jobs.inputs import encoder_of
from vidtopics.jobs.job import Run
from vidtopics.tables.row_groups import pick_rows
from vidtopics.tables.scans import scan

Encodings: TypeAlias = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]
]
"""Image float32[N, image], title float32[N, title], has_image bool[N], has_title bool[N]."""
VECTORS = ("image_encoding", "title_encoding")


def read_encodings(content_hashes: pa.ChunkedArray, run: Run) -> Encodings:
    """Encoder outputs of each video's content, whenever it was encoded.

    Vectors of a large catalogue lie in the home's scratch files (:func:`empty_rows`), and only row
    groups that have one of them are read.

    Raises:
        TableError: a content has no encoding by the run's encoders.
    """
    dataset = scan(run.tables.delta(VIDEO_CONTENT_ENCODING))
    stored = dataset.to_table(columns=["content_hash", "encoder", "has_image", "has_title"])
    by_encoder = pc.indices_nonzero(pc.equal(stored["encoder"], encoder_of(run)))
    hashes = stored["content_hash"].take(by_encoder).combine_chunks()
    at = pc.index_in(content_hashes.combine_chunks(), value_set=hashes)
    if at.null_count:
        raise TableError(
            explain(
                "video_content_encoding",
                expected="every live video",
                found=f"{at.null_count} missing",
                mend="vidtopics run video_content_encoding",
            )
        )
    rows = by_encoder.to_numpy().astype(np.int64)[at.to_numpy()]
    image, title = gather_vectors(dataset, rows, VECTORS, run.tables.home)
    has_image, has_title = (stored[name].to_numpy()[rows] for name in ("has_image", "has_title"))
    return image, title, has_image, has_title


def take(encodings: Encodings, rows: NDArray[np.int64] | slice) -> Encodings:
    """Those rows of each array: a copy of numbered ones, a view of a slice."""
    image, title, has_image, has_title = encodings
    return image[rows], title[rows], has_image[rows], has_title[rows]


def gather_vectors(
    dataset: ds.FileSystemDataset, rows: NDArray[np.int64], columns: Sequence[str], folder: Path
) -> list[NDArray[np.float32]]:
    """Columns of equally long lists of some rows, float32[N, width] each.

    Args:
        dataset: a table's snapshot.
        rows: int64[N], numbers in the dataset's order, in any order and repeated or not.
        columns: their names.
        folder: of scratch files.
    """
    gathered: dict[str, NDArray[np.float32]] = {}
    lock = Lock()

    def write(places: NDArray[np.int64], batch: pa.RecordBatch) -> None:
        for name in columns:
            values = batch[name].flatten().to_numpy().reshape(len(places), -1)
            with lock:
                if name not in gathered:
                    gathered[name] = empty_rows(folder, len(rows), values.shape[1])
            gathered[name][places] = values

    pick_rows(dataset, columns, rows, write)
    return [gathered.get(name, np.empty((0, 0), np.float32)) for name in columns]
