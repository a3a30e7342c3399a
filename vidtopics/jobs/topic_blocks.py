"""The two blocks of a topic representation, video by video, and what a model does with them.

A training makes joint blocks a few videos at a time, where it needs them: those of 3 M videos are
27 GB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from producers.topics.space import TopicSpace
from producers.topics.thresholds import Thresholds
from vidtopics.contracts import VIDEO_JOINT_REPRESENTATION, VIDEO_TAG_EMBEDDING
from vidtopics.files import empty_rows
from vidtopics.jobs.encodings import gather_vectors
from vidtopics.jobs.inputs import vectors
from vidtopics.jobs.job import Run
from vidtopics.topic_models import TopicModel

if TYPE_CHECKING:
    from producers.content.joint_model import JointModel
    from producers.tags.vectors import TagVectors
    from producers.topics.assignment import Assignment
    from producers.topics.evolution import Topics
    from producers.topics.parents import Parents
    from vidtopics.jobs.encodings import Encodings

PART_ROWS = 8_192
"""Videos whose joint blocks are held at once: 150 MB in double precision at the paper's width."""


@dataclass(frozen=True, eq=False)
class TagBlocks:
    """Of N videos: tag float32[N, d], and whether each block is present, bool[N]."""

    tag: NDArray[np.float32]
    has_tag: NDArray[np.bool_]
    has_joint: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Blocks:
    """tag float32[N, d], joint float32[N, D] of N videos, and whether each is present, bool[N]."""

    video_ids: pa.ChunkedArray
    tag: NDArray[np.float32]
    joint: NDArray[np.float32]
    has_tag: NDArray[np.bool_]
    has_joint: NDArray[np.bool_]


def read_blocks(run: Run, *, without: pa.Array | None = None) -> Iterator[Blocks]:
    """Both blocks of every video that has them as of the run, but those of `without`, in parts.

    In the order of the joint representation's files, so that each of their row groups is decoded
    once or twice. Tag vectors of a large catalogue lie in the home's scratch files.
    """
    where = None if without is None else ~ds.field("video_id").isin(without)
    tags, joint = (
        run.latest_rows(table, where) for table in (VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION)
    )
    tag_rows = pc.index_in(joint.keys["video_id"], tags.keys["video_id"].combine_chunks())
    has_both = np.flatnonzero(pc.is_valid(tag_rows).to_numpy())
    order = has_both[np.argsort(joint.numbers[has_both])]
    tag_rows = tag_rows.take(pa.array(order)).to_numpy()
    video_ids = joint.keys["video_id"].take(pa.array(order))
    has_tag = tags.read("tag_count")["tag_count"].to_numpy()[tag_rows] > 0
    has_joint = joint.read("content_blocks")["content_blocks"].to_numpy()[order] > 0
    home, numbers = run.tables.home, joint.numbers[order]
    [tag] = gather_vectors(tags.dataset, tags.numbers[tag_rows], ["tag_embedding"], home)
    for first in range(0, len(order), PART_ROWS):
        part = slice(first, first + PART_ROWS)
        [z] = gather_vectors(joint.dataset, numbers[part], ["joint_embedding"], home)
        yield Blocks(video_ids[part], tag[part], z, has_tag[part], has_joint[part])


def blocks_of(rows: pa.Table) -> Blocks:
    """Of rows with the columns of `video_tag_embedding` and `video_joint_representation`."""
    return Blocks(
        rows["video_id"],
        vectors(rows["tag_embedding"]),
        vectors(rows["joint_embedding"]),
        rows["tag_count"].to_numpy() > 0,
        rows["content_blocks"].to_numpy() > 0,
    )


def tag_blocks(encodings: Encodings, tags: pa.LargeListArray, vectors: TagVectors) -> TagBlocks:
    """The tag blocks of every video, as a run with the model will compute them."""
    from producers.tags.pooling import pool_lists

    _, _, has_image, has_title = encodings
    pooled = pool_lists(tags, vectors)
    return TagBlocks(pooled.tag_embedding, pooled.tag_count > 0, has_image | has_title)


def represent_parts(
    space: TopicSpace, joint: JointModel, encodings: Encodings, blocks: TagBlocks
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Rows and their topic representations, float32[n, d + D], for some videos after the other."""
    from producers.content.training import joint_representation
    from vidtopics.jobs.encodings import take

    for first in range(0, len(blocks.tag) or 1, PART_ROWS):
        rows = slice(first, first + PART_ROWS)
        z, _ = joint_representation(joint, *take(encodings, rows))
        of_blocks = (blocks.has_tag[rows], blocks.has_joint[rows])
        yield rows, space.represent(blocks.tag[rows], z, *of_blocks)


def represent_videos(
    space: TopicSpace, joint: JointModel, encodings: Encodings, blocks: TagBlocks, folder: Path
) -> NDArray[np.float32]:
    """All of them, float32[N, d + D]; many lie in a scratch file of the folder."""
    a = np.empty((0, 0), np.float32)
    for rows, part in represent_parts(space, joint, encodings, blocks):
        if not len(a):
            a = empty_rows(folder, len(blocks.tag), part.shape[1])
        a[rows] = part
    return a


def assign_videos(model: TopicModel, encodings: Encodings, tags: pa.LargeListArray) -> Assignment:
    """The topics that a version gives to videos, new tags by their neighbours."""
    from producers.tags.folding import with_new_tags
    from producers.tags.vectors import TagVectors
    from producers.topics.assignment import Assignment, assign

    settings, topics = model.version.settings["tags"], topics_of(model)
    names = model.tags["tag"].combine_chunks().cast(tags.type.value_type)
    trained = TagVectors(names, vectors(model.tags["tag_vector"], int(settings["dimensions"])))
    blocks = tag_blocks(encodings, tags, with_new_tags(trained, tags, int(settings["min_videos"])))
    least = thresholds_of(model).of_rows(blocks.has_tag, blocks.has_joint)
    parts = [
        assign(part, topics.centroids, topics.topic_ids, least[rows])
        for rows, part in represent_parts(space_of(model), restore_joint(model), encodings, blocks)
    ]
    return Assignment(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def represent(space: TopicSpace, blocks: Blocks) -> NDArray[np.float32]:
    """Returns a = [tag, joint], float32[N, d + D] of length 1 (III-A3), zero if both miss."""
    return space.represent(blocks.tag, blocks.joint, blocks.has_tag, blocks.has_joint)


def space_of(model: TopicModel) -> TopicSpace:
    """How a version joins two blocks."""
    numbers = model.version.numbers
    mean = np.asarray(model.arrays["tag_mean"], np.float32)
    return TopicSpace(mean, numbers["tag_weight"], numbers["joint_weight"])


def thresholds_of(model: TopicModel) -> Thresholds:
    """The least cosines of a version."""
    names = (field.name for field in fields(Thresholds))
    return Thresholds(**{name: model.version.numbers[f"threshold_{name}"] for name in names})


def restore_joint(model: TopicModel) -> JointModel:
    """The joint model of a version, ready to represent."""
    import torch

    from producers.content.joint_model import JointModel

    state = {name: torch.from_numpy(array) for name, array in model.joint.items()}
    return JointModel.restore(state, model.version.shape)


def living_topics(model: TopicModel) -> pa.Table:
    """Rows of a version's topics that aren't retired, by topic_id."""
    return model.topics.filter(pc.is_null(model.topics["retired"])).sort_by("topic_id")


def topics_of(model: TopicModel) -> Topics:
    """The living topics of a version."""
    from producers.topics.evolution import Topics

    living = living_topics(model)
    none = np.empty(0, np.int64)
    return Topics(
        living["topic_id"].to_numpy(),
        vectors(living["centroid"]).copy(),
        living["size"].to_numpy(),
        cohesion=np.asarray(model.arrays["cohesion"], np.float32),
        split_from=pc.fill_null(living["split_from"], 0).to_numpy(),
        born=none,
        retired=none,
        next_id=model.version.next_topic_id,
        epoch=model.version.epoch,
        training=int(model.version.numbers["training"]),
    )


def parents_of(model: TopicModel) -> Parents:
    """The groups of a version's living topics."""
    from producers.topics.parents import Parents

    living = living_topics(model)
    return Parents(
        living["topic_id"].to_numpy(),
        living["parent_topic_id"].to_numpy(),
        np.asarray(model.arrays["parent_ids"], np.int64),
        np.asarray(model.arrays["parent_centroids"], np.float32),
        int(model.version.numbers["next_parent_id"]),
    )
