"""Training makes a topic model version; every run until the next one infers with it.

What the two share is in the version: the joint model, the tag space, block weights, thresholds and
topics (docs/models.md). A version goes on from the one in force before it, so that representations
and topic IDs stay comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.jobs import checks
from vidtopics.jobs.content_training import continues, joint_space
from vidtopics.jobs.inputs import training_videos
from vidtopics.jobs.job import Job, Run
from vidtopics.jobs.labellers import load_labeller
from vidtopics.jobs.training_key import (
    comparable,
    is_current,
    keeps_space,
    learning_size,
    size_of,
    training_key,
)
from vidtopics.times import micros
from vidtopics.topic_models import TopicModel, Version, load, save

if TYPE_CHECKING:
    from producers.topics.evolution import Topics
    from producers.topics.space import TopicSpace
    from producers.topics.thresholds import Thresholds
    from vidtopics.jobs.content_training import LearnedContent
    from vidtopics.jobs.encodings import Encodings
    from vidtopics.jobs.topic_blocks import TagBlocks


@dataclass(frozen=True)
class Training:
    """A version, whether it is new, and what was asked before: figures, and why it was trained.

    Both are empty where nothing was asked.
    """

    version: Version
    is_new: bool
    figures: Sequence[str] = ()
    reasons: Sequence[str] = ()


def train(run: Run, graph: Job, encoding: Job) -> Training:
    """Train the version of a run's time, or find that nothing it depends on has changed.

    Args:
        run: as of when; its lock is held.
        graph: the job that makes the tag graph.
        encoding: the job that encodes what the encoders haven't seen.

    Raises:
        TableError, SettingsError: before anything is written, where there is too little to learn.
    """
    run = replace(run, trains=True)
    check(run)
    current = run.model_version_at(run.as_of_us)
    if current and is_current(run, current):
        return Training(current, is_new=False)
    if len(training_videos(run)):
        run.progress(graph.name)
        graph.run(run)
    before = run.model_version_at(run.as_of_us - 1)
    previous = load(run.tables.home, before.number) if before else None
    model, content = learn(run, previous, encoding)
    if run.lock:
        run.lock.check()
    version = save(run.tables.home, model, content.copy_encoders)
    content.clear()
    return Training(version, is_new=True)


def check(run: Run) -> None:
    """TableError or SettingsError where a training as of the run can't give a version."""
    checks.require_live_videos(run)
    previous = run.model_version_at(run.as_of_us - 1)
    if previous is None or not continues(run.settings.content, previous):
        checks.require_training_videos(run)
    checks.require_videos_for_clusters(run)
    if run.settings.topics.labeller:
        load_labeller(run.settings.topics.labeller)


def learn(
    run: Run, previous: TopicModel | None, encoding: Job
) -> tuple[TopicModel, LearnedContent]:
    """The model of a run's time, and the encoders where they are trained too.

    Nothing is written but encodings of what is new.
    """
    from producers.tags.folding import with_new_tags
    from producers.topics.parents import group_topics
    from producers.topics.products import product_type
    from vidtopics.jobs.content_training import learn_content
    from vidtopics.jobs.inputs import held_out, live_videos, tag_lists
    from vidtopics.jobs.tag_learning import learn_tags
    from vidtopics.jobs.topic_blocks import parents_of, represent_videos, tag_blocks
    from vidtopics.jobs.topic_learning import learn_topics_of
    from vidtopics.jobs.topic_rows import topic_rows, unused_topics

    columns = ("content_hash", "primary_classes", "secondary_classes", "title", "cover")
    videos = live_videos(run, *columns)
    trains = ~held_out(videos["content_hash"], run.settings.content)
    tags = tag_lists(run, videos["video_id"])
    size = learning_size(tags, trains)
    keeps = keeps_space(run.settings, previous, size)
    content = learn_content(run, videos, tags, trains, previous, encoding, keeps_space=keeps)
    tag_rows, vectors, remarks = learn_tags(
        run, tags.filter(pa.array(trains)), previous, keeps_space=keeps
    )
    vectors = with_new_tags(vectors, tags, run.settings.tags.min_videos)
    blocks = tag_blocks(content.encodings, tags, vectors)
    space, calibration = learn_space(
        run, videos, tags, content.encodings, blocks, trains, previous if keeps else None
    )
    a = represent_videos(space, content.joint, content.encodings, blocks, run.tables.home)
    evolves = previous is not None and previous.version.comparable == comparable(run.settings)
    topics, thresholds, last = learn_topics_of(
        run, a, blocks, videos, previous, evolves=evolves, keeps_space=keeps
    )
    parents = group_topics(
        topics.topic_ids,
        topics.centroids,
        topics.sizes,
        parents_of(previous) if previous else None,
        seed=run.settings.seed,
    )
    rows = topic_rows(run, a, topics, parents, tags, videos["title"], previous)
    unused = unused_topics(run.settings.topics.clusters, rows)
    figures = {
        **content.losses,
        **judge(a, blocks, topics, thresholds, last),
        "calibration": calibration,
        "products": product_type("cpu"),
    }
    learned_from = size_of(previous.version) if previous and keeps else size
    numbers = {
        "tag_weight": space.tag_weight,
        "joint_weight": space.joint_weight,
        **{f"threshold_{name}": value for name, value in asdict(thresholds).items()},
        "training": topics.training,
        "next_parent_id": parents.next_id,
        "space_videos": learned_from.videos,
        "space_tags": learned_from.tags,
    }
    version = replace(
        _manifest(run, previous, content, topics),
        left_out=[*content.left_out, *remarks, *unused],
        evaluation=figures,
        numbers=numbers,
    )
    model = TopicModel(
        version,
        {name: x.cpu().numpy() for name, x in content.joint.state_dict().items()},
        {
            "tag_mean": space.tag_mean,
            "cohesion": topics.cohesion,
            "parent_ids": parents.ids,
            "parent_centroids": parents.centroids,
        },
        tag_rows,
        rows,
    )
    return model, content


def learn_space(
    run: Run,
    videos: pa.Table,
    tags: pa.LargeListArray,
    encodings: Encodings,
    blocks: TagBlocks,
    trains: NDArray[np.bool_],
    previous: TopicModel | None,
) -> tuple[TopicSpace, dict[str, Any]]:
    """How the blocks are joined: as in `previous`, else by the videos that train.

    Returns:
        The space, and the calibration that it came from: why, and its curve.
    """
    from vidtopics.jobs.space_calibration import learn_calibration
    from vidtopics.jobs.topic_blocks import space_of

    if previous:
        return space_of(previous), dict(previous.version.evaluation.get("calibration", {}))
    run.progress("block weights")
    calibration = learn_calibration(run.settings, videos, tags, encodings, blocks, trains)
    curve = [point._asdict() for point in calibration.curve]
    return calibration.space, {"reason": calibration.reason, "curve": curve}


def judge(
    a: NDArray[np.float32],
    blocks: TagBlocks,
    topics: Topics,
    thresholds: Thresholds,
    last: NDArray[np.int64] | None,
) -> dict[str, float]:
    """Figures of the training, which later ones are compared with.

    `first_kept` and `set_kept`: shares of the videos with topics in `last` that have the same first
    topic, and the same set.
    """
    from producers.topics.assignment import assign
    from producers.topics.churn import compare_rows

    least = thresholds.of_rows(blocks.has_tag, blocks.has_joint)
    assignment = assign(a, topics.centroids, topics.topic_ids, least)
    has = assignment.topic_count > 0
    below = {
        name: float(assignment.below_threshold[has & of].mean())
        for name, of in (("tagged", blocks.has_tag), ("untagged", ~blocks.has_tag))
        if (has & of).any()
    }
    stays = {}
    if last is not None:
        had = last[:, 0] >= 0
        shares = compare_rows(last[had], assignment.topic_ids[had])
        stays = {"first_kept": shares.first, "set_kept": shares.whole}
    return {
        **stays,
        "videos": len(a),
        "topics": len(topics.topic_ids),
        "born": len(topics.born),
        "retired": len(topics.retired),
        "topics_per_video": float(assignment.topic_count.mean()),
        "cosine": float(assignment.topic_weights[has, 0].mean(dtype=np.float64)),
        "below_threshold": float(assignment.below_threshold[has].mean()),
        **{f"below_threshold_{name}": share for name, share in below.items()},
    }


def _manifest(
    run: Run,
    previous: TopicModel | None,
    content: LearnedContent,
    topics: Topics,
) -> Version:
    number = previous.version.number if previous else 0
    settings = run.settings
    sections = {
        name: getattr(settings, name).model_dump(mode="json")
        for name in ("content", "tags", "topics")
    }
    return Version(
        as_of_us=run.as_of_us,
        created_us=run.created_us,
        trained_us=micros(datetime.now(UTC)),
        live=run.live,
        previous=number,
        key=training_key(run, number),
        encoder=content.encoder,
        comparable=comparable(settings),
        settings={
            **sections,
            "seed": settings.seed,
            "joint_space": joint_space(settings.content),
        },
        epoch=topics.epoch,
        next_topic_id=topics.next_id,
        shape=vars(content.joint.shape),
        numbers={},
        evaluation={},
    )
