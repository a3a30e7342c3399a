"""The paper's cover features (IV-D): 128 numbers of a cover, what topics compete with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.training.inputs import ViewRows
from vidtopics.contracts import VIDEO_CONTENT_ENCODING
from vidtopics.tables import FOREVER, Tables

WIDTH = 128
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Encodings:
    """Encodings of M covers, by content.

    Attributes:
        content: M content hashes.
        image: float32[M, W].
    """

    content: pa.Array
    image: Floats

    @classmethod
    def read(cls, tables: Tables, versions: Mapping[str, int]) -> Encodings | None:
        """Those of a release; None where it has none."""
        if VIDEO_CONTENT_ENCODING.name not in versions:
            return None
        names = ["content_hash", "image_encoding", "has_image"]
        version = versions[VIDEO_CONTENT_ENCODING.name]
        rows = tables.read(VIDEO_CONTENT_ENCODING, columns=names, version=version)
        rows = rows.filter(rows["has_image"]).combine_chunks()
        if not len(rows):
            return None
        flat = pc.list_flatten(rows["image_encoding"]).to_numpy().astype(np.float32)
        return cls(rows["content_hash"].combine_chunks(), flat.reshape(len(rows), -1))

    def of_videos(self, videos: pa.Array, catalogue: ViewRows) -> tuple[Floats, NDArray[np.bool_]]:
        """float32[V, W] by each video's last content, zero without; and which have one, bool[V]."""
        row = catalogue.known(pa.table({"video_id": videos}), np.full(len(videos), FOREVER))
        content = catalogue.values["content_hash"].take(pa.array(row, mask=row < 0))
        at = pc.fill_null(pc.index_in(content, value_set=self.content), -1).to_numpy()
        image = self.image[np.maximum(at, 0)]
        image[at < 0] = 0
        return image, at >= 0


def project(image: Floats, present: NDArray[np.bool_], fitted: NDArray[np.bool_]) -> Floats:
    """float32[V, 128]: principal components of the encodings, zero for videos without.

    Args:
        image: float32[V, W].
        present: bool[V], which have an encoding.
        fitted: bool[V], the videos that the components are taken from: those of training rows.

    >>> image = np.array([[2.0, 1], [0, 1], [1, 1], [0, 0]], np.float32)
    >>> present = np.array([True, True, True, False])
    >>> abs(project(image, present, present)[:, :2]).round(2).tolist()
    [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    out = np.zeros((len(image), WIDTH), np.float32)
    rows = image[present & fitted].astype(np.float64)
    if not len(rows):
        return out
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean))
    components = vectors[:, np.argsort(-values)[:WIDTH]]
    out[:, : components.shape[1]] = (image - mean) @ components
    out[~present] = 0
    return out
