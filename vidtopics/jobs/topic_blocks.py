"""The two blocks of a topic representation, video by video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.topics.space import TopicSpace
from vidtopics.contracts import VIDEO_JOINT_REPRESENTATION, VIDEO_TAG_EMBEDDING
from vidtopics.jobs.inputs import vectors
from vidtopics.jobs.job import Run
from vidtopics.settings import TopicSettings


@dataclass(frozen=True, eq=False)
class Blocks:
    """tag float32[N, d], joint float32[N, D] by video_id, and whether each is present, bool[N]."""

    video_ids: pa.ChunkedArray
    tag: NDArray[np.float32]
    joint: NDArray[np.float32]
    has_tag: NDArray[np.bool_]
    has_joint: NDArray[np.bool_]


def read_blocks(run: Run) -> Blocks:
    """Both blocks of every video that has them as of the run."""
    tags, joint = (run.read(t) for t in (VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION))
    has_both = pc.is_in(tags["video_id"], value_set=joint["video_id"].combine_chunks())
    video_ids = tags["video_id"].filter(has_both)
    video_ids = video_ids.take(pc.sort_indices(video_ids))
    # Ordered as arrays: a sort of the tables would join their lists, whose offsets overflow.
    tag_rows, joint_rows = (
        pc.index_in(video_ids, value_set=rows["video_id"].combine_chunks()).to_numpy()
        for rows in (tags, joint)
    )
    return Blocks(
        video_ids,
        vectors(tags["tag_embedding"], rows=tag_rows),
        vectors(joint["joint_embedding"], rows=joint_rows),
        tags["tag_count"].to_numpy()[tag_rows] > 0,
        joint["content_blocks"].to_numpy()[joint_rows] > 0,
    )


def space_of(settings: TopicSettings, width: int) -> TopicSpace:
    """The space that the settings ask for: weighted blocks, nothing subtracted."""
    return TopicSpace(np.zeros(width, np.float32), settings.tag_weight, settings.joint_weight)


def represent(settings: TopicSettings, blocks: Blocks) -> NDArray[np.float32]:
    """Returns a = [tag, joint], float32[N, d + D] of length 1 (III-A3), zero if both miss."""
    space = space_of(settings, blocks.tag.shape[1])
    return space.represent(blocks.tag, blocks.joint, blocks.has_tag, blocks.has_joint)
