"""Topics of a world's videos as the kernels read them: a code for each video and unit centres."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vidtopics.contracts import TOPICS, VIDEO_TOPICS
from vidtopics.jobs.job import Run
from vidtopics.simulation.classes import unit
from vidtopics.simulation.identifiers import numbered


class Topics(NamedTuple):
    """`code` [V] is the row of unit `centres` [C, D] that stands for a video."""

    code: NDArray[np.int64]
    centres: NDArray[np.float64]


def learned_topics(run: Run, videos: int) -> Topics:
    """The first learned topic of each of a world's first `videos`, by its centre.

    A video without one shares a last code with the others that have none, whose centre is zero: at
    right angles to all others.
    """
    topics = run.read(TOPICS, "topic_id", "centroid")
    rows = run.read(VIDEO_TOPICS, "video_id", "topic_ids")
    first = pc.list_element(rows["topic_ids"], 0)
    ids = numbered("v", np.arange(videos), videos)
    of_video = pc.take(first, pc.index_in(ids, value_set=rows["video_id"].combine_chunks()))
    place = pc.index_in(of_video, value_set=topics["topic_id"].combine_chunks())
    code = pc.fill_null(place, topics.num_rows).to_numpy().astype(np.int64)
    centres = unit(_as_matrix(topics["centroid"]))
    return Topics(code, np.vstack([centres, np.zeros(centres.shape[1])]))


def _as_matrix(lists: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.array(lists.to_pylist(), dtype=float)
