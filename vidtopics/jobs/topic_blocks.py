"""The two blocks of a topic representation, video by video, and what a model does with them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from producers.topics.space import TopicSpace
from producers.topics.thresholds import Thresholds
from vidtopics.contracts import VIDEO_JOINT_REPRESENTATION, VIDEO_TAG_EMBEDDING
from vidtopics.jobs.inputs import vectors
from vidtopics.jobs.job import Run
from vidtopics.topic_models import TopicModel

if TYPE_CHECKING:
    from producers.content.joint_model import JointModel
    from producers.tags.vectors import TagVectors
    from producers.topics.assignment import Assignment
    from producers.topics.evolution import Topics
    from producers.topics.parents import Parents
    from vidtopics.jobs.inputs import Encodings


@dataclass(frozen=True, eq=False)
class Blocks:
    """tag float32[N, d], joint float32[N, D] by video_id, and whether each is present, bool[N]."""

    video_ids: pa.ChunkedArray
    tag: NDArray[np.float32]
    joint: NDArray[np.float32]
    has_tag: NDArray[np.bool_]
    has_joint: NDArray[np.bool_]


def read_blocks(run: Run, *, without: pa.Array | None = None) -> Blocks:
    """Both blocks of every video that has them as of the run, but those of `without`."""
    where = None if without is None else ~ds.field("video_id").isin(without)
    tags, joint = (
        run.read(table, where=where) for table in (VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION)
    )
    return blocks_of(tags, joint)


def blocks_of(tags: pa.Table, joint: pa.Table) -> Blocks:
    """Rows of `video_tag_embedding` and `video_joint_representation` of videos that both have."""
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


def make_blocks(
    video_ids: pa.ChunkedArray,
    joint: JointModel,
    encodings: Encodings,
    tags: pa.LargeListArray,
    vectors: TagVectors,
) -> Blocks:
    """Both blocks of every video, as a run with the model will compute them."""
    from producers.content.training import joint_representation
    from producers.tags.pooling import pool_lists

    z, content_blocks = joint_representation(joint, *encodings)
    pooled = pool_lists(tags, vectors)
    return Blocks(video_ids, pooled.tag_embedding, z, pooled.tag_count > 0, content_blocks > 0)


def blocks_by(
    model: TopicModel, video_ids: pa.ChunkedArray, encodings: Encodings, tags: pa.LargeListArray
) -> Blocks:
    """Both blocks of videos as a version sees them, new tags by their neighbours."""
    from producers.tags.folding import with_new_tags
    from producers.tags.vectors import TagVectors

    settings = model.version.settings["tags"]
    names = model.tags["tag"].combine_chunks().cast(tags.type.value_type)
    trained = TagVectors(names, vectors(model.tags["tag_vector"], int(settings["dimensions"])))
    space = with_new_tags(trained, tags, int(settings["min_videos"]))
    return make_blocks(video_ids, restore_joint(model), encodings, tags, space)


def assign_by(model: TopicModel, blocks: Blocks) -> Assignment:
    """The topics that a version gives to videos."""
    from producers.topics.assignment import assign

    topics = topics_of(model)
    least = thresholds_of(model).of_rows(blocks.has_tag, blocks.has_joint)
    return assign(represent(space_of(model), blocks), topics.centroids, topics.topic_ids, least)


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
