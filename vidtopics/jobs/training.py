"""Training makes a topic model version; every run until the next one infers with it.

What the two share is in the version: the joint model, the tag space, block weights, thresholds and
topics (docs/models.md). A version goes on from the one in force before it, so that representations
and topic IDs stay comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producers.content.weights import encoder_identity
from vidtopics.contracts import (
    TAG_COOCCURRENCE,
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_TAGS,
)
from vidtopics.jobs import checks
from vidtopics.jobs.job import Job, Run, removals_due
from vidtopics.settings import ContentSettings, Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import micros
from vidtopics.topic_models import TopicModel, Version, load, save, versions

if TYPE_CHECKING:
    from producers.content.dataset import Targets
    from producers.content.joint_model import JointModel
    from producers.content.training import TrainedModel
    from producers.tags.skipgram import TagVectors
    from producers.topics.stable_ids import Topics
    from vidtopics.jobs.inputs import Encodings
    from vidtopics.jobs.topic_blocks import Blocks

CODE = (
    "vidtopics.jobs.training",
    "vidtopics.jobs.topic_blocks",
    "vidtopics.jobs.inputs",
    "producers.content",
    "producers.tags",
    "producers.topics",
    "producers.unit_length",
)
"""Modules whose source a version depends on."""
INPUTS = (VIDEO_CATALOG, VIDEO_TAGS)
TASKS = ("primary", "secondary", "tags")
NOT_LEARNED = "no two tags share a video: tag vectors stay as they were drawn, nothing was learned"


@dataclass(frozen=True)
class Training:
    """A version, and whether it is new."""

    version: Version
    is_new: bool


def train(run: Run, jobs: Sequence[Job]) -> Training:
    """Train the version of a run's time, or find that nothing it depends on has changed.

    Args:
        run: as of when; its lock is held.
        jobs: those that make the training's own inputs, the tag graph and encodings.

    Raises:
        TableError, SettingsError: before anything is written, where there is too little to learn.
    """
    run = replace(run, trains=True)
    check(run)
    current = run.model_version_at(run.as_of_us)
    if current and current.key == _key(run, current.previous) and _is_of(run, current):
        return Training(current, is_new=False)
    for job in jobs:
        run.progress(job.name)
        job.run(run)
    before = run.model_version_at(run.as_of_us - 1)
    previous = load(run.tables.home, before.number) if before else None
    model = learn(run, previous)
    if run.lock:
        run.lock.check()
    return Training(save(run.tables.home, model), is_new=True)


def check(run: Run) -> None:
    """TableError or SettingsError where a training as of the run can't give a version."""
    checks.require_live_videos(run)
    previous = run.model_version_at(run.as_of_us - 1)
    if previous is None or not _continues(run.settings.content, previous):
        checks.require_training_videos(run)
    checks.require_videos_for_clusters(run)


def learn(run: Run, previous: TopicModel | None) -> TopicModel:
    """The model of a run's time; nothing is written."""
    from vidtopics.jobs.inputs import live_videos, read_encodings, tag_lists

    columns = ("content_hash", "primary_classes", "secondary_classes", "title")
    videos = live_videos(run, *columns)
    encodings = read_encodings(videos["content_hash"], run)
    tags = tag_lists(run, videos["video_id"])
    joint, losses, left_out = learn_joint(run, videos, tags, encodings, previous)
    tag_rows, vectors, remarks = learn_tags(run, tags, previous)
    blocks = make_blocks(videos["video_id"], joint, encodings, tags, vectors)
    topics = learn_topics_of(run, blocks, previous)
    rows = topic_rows(run, topics, blocks, tags, videos["title"], previous)
    left_out += [*remarks, *_unused_topics(run.settings.topics.clusters, rows)]
    figures = losses | {
        "videos": len(videos),
        "topics": len(topics.topic_ids),
        "born": len(topics.born),
        "retired": len(topics.retired),
    }
    version = _manifest(run, previous, joint, topics, figures)
    return TopicModel(
        replace(version, left_out=left_out),
        {name: x.numpy() for name, x in joint.state_dict().items()},
        {},
        tag_rows,
        rows,
    )


def learn_joint(
    run: Run,
    videos: pa.Table,
    tags: pa.ListArray,
    encodings: Encodings,
    previous: TopicModel | None,
) -> tuple[JointModel, dict[str, float], list[str]]:
    """Eq. 2 on the videos that aren't held out, from the last version's weights where comparable.

    Returns:
        The joint model, its last losses by task, and what it could not learn.
    """
    from producers.content.dataset import holdout
    from vidtopics.jobs.inputs import take

    settings = run.settings.content
    train_rows = np.flatnonzero(~holdout(videos["video_id"].to_pylist(), settings.holdout_share))
    initial = _initial(run, previous)
    if initial is not None and not len(train_rows):
        reason = f"no training, all {len(videos)} videos are held out: the last model serves"
        return initial, {}, [reason]
    targets = _targets(videos, tags, train_rows, settings)
    trained = _fit(take(encodings, train_rows), targets, initial, run)
    last = trained.losses[-10:].mean(axis=0).tolist()
    losses = {f"loss_{task}": loss for task, loss in zip(TASKS, last, strict=True)}
    return trained.model, losses, untrained_tasks(targets.classes)


def _initial(run: Run, previous: TopicModel | None) -> JointModel | None:
    """The last version's joint model; None where its z could not be compared."""
    from vidtopics.jobs.topic_blocks import restore_joint

    if previous is None or not _continues(run.settings.content, previous.version):
        return None
    return restore_joint(previous)


def _targets(
    videos: pa.Table, tags: pa.ListArray, rows: NDArray[np.int64], settings: ContentSettings
) -> Targets:
    """Classes and tags of the videos that train."""
    from producers.content.dataset import make_targets

    names = (videos["primary_classes"], videos["secondary_classes"], tags)
    return make_targets(
        *(column.take(pa.array(rows)).to_pylist() for column in names),
        min_tag_videos=settings.min_tag_videos,
        max_tags=settings.max_tags,
    )


def _fit(
    encodings: Encodings, targets: Targets, initial: JointModel | None, run: Run
) -> TrainedModel:
    """Fewer iterations from a last model."""
    from producers.content.training import train_joint

    settings = run.settings.content
    iterations = settings.iterations if initial is None else settings.warm_iterations
    return train_joint(
        *encodings,
        targets,
        settings.model_copy(update={"iterations": iterations}),
        seed=run.settings.seed,
        initial=initial,
        progress=lambda done, total: run.progress(f"MMoE {done}/{total}"),
    )


def untrained_tasks(classes: Sequence[Sequence[str]]) -> list[str]:
    """Which of Eq. 2's tasks have fewer than two classes to tell apart, so that nothing is learned.

    >>> untrained_tasks([["music", "sport"], ["jazz"], []])
    ['nothing learned from secondary classes (1) and tags (0): two differing ones are needed']
    """
    names = ("primary classes", "secondary classes", "tags")
    few = [f"{n} ({len(c)})" for n, c in zip(names, classes, strict=True) if len(c) < 2]
    listed = " and ".join(part for part in (", ".join(few[:-1]), *few[-1:]) if part)
    return [f"nothing learned from {listed}: two differing ones are needed"] if few else []


def learn_tags(
    run: Run, tags: pa.ListArray, previous: TopicModel | None
) -> tuple[pa.Table, TagVectors, list[str]]:
    """Walk, learn, and turn the space onto the last version's, so that vectors stay comparable.

    Returns:
        Rows of `tag_embedding`, the same as vectors, and what could not be learned.
    """
    from producers.tags.graph import build_graph
    from producers.tags.skipgram import TagVectors, embed_tags
    from vidtopics.jobs.inputs import count_tags, lists, vectors

    run.progress("tag vectors")
    settings = run.settings.tags
    counted = count_tags(tags, settings.min_videos)
    edges = run.read(TAG_COOCCURRENCE).combine_chunks()
    a, b = edges["tag_a"].combine_chunks(), edges["tag_b"].combine_chunks()
    graph = build_graph(a, b, edges["videos"].to_numpy(), isolated=counted["tag"].combine_chunks())
    old = vectors(previous.tags["tag_vector"]) if previous else np.empty((0, 0), np.float32)
    initial = None
    if previous and len(old) and old.shape[1] == settings.dimensions:
        initial = TagVectors(previous.tags["tag"].combine_chunks(), old)
    embedding = embed_tags(graph, settings, seed=run.settings.seed, initial=initial)
    columns = {
        "tag": embedding.tags,
        "tag_vector": lists(embedding.vectors),
        "video_count": counted["video_count"].take(
            pc.index_in(embedding.tags, value_set=counted["tag"].combine_chunks())
        ),
        "component": graph.components(),
    }
    remarks = [NOT_LEARNED] if len(graph) and not len(edges) else []
    return pa.table(columns), embedding, remarks


def make_blocks(
    video_ids: pa.ChunkedArray,
    joint: JointModel,
    encodings: Encodings,
    tags: pa.ListArray,
    vectors: TagVectors,
) -> Blocks:
    """Both blocks of every video, as a run with the model will compute them."""
    from producers.content.training import joint_representation
    from producers.tags.pooling import pool_lists
    from vidtopics.jobs.topic_blocks import Blocks

    z, content_blocks = joint_representation(joint, *encodings)
    pooled = pool_lists(tags, vectors)
    return Blocks(video_ids, pooled.tag_embedding, z, pooled.tag_count > 0, content_blocks > 0)


def learn_topics_of(run: Run, blocks: Blocks, previous: TopicModel | None) -> Topics:
    """Cluster from the last version's centres, so that IDs stay."""
    from producers.topics.stable_ids import learn_topics
    from vidtopics.jobs.topic_blocks import represent_with, topics_of

    run.progress("topics")
    settings = run.settings.topics
    a = represent_with(settings.tag_weight, settings.joint_weight, blocks)
    saved = versions(run.tables.home)
    before = topics_of(previous) if previous else None
    if before:  # an ID is given once, whatever became of the version that gave it
        highest = max(version.next_topic_id for version in saved)
        before = replace(before, next_id=max(before.next_id, highest))
    topics = learn_topics(
        a,
        previous=before,
        settings=settings,
        seed=run.settings.seed,
        new_epoch=previous is not None and previous.version.comparable != comparable(run.settings),
    )
    if before is None or topics.epoch != before.epoch:
        used = max((version.epoch for version in saved), default=0)
        topics = replace(topics, epoch=max(topics.epoch, used + 1))
    return topics


def topic_rows(
    run: Run,
    topics: Topics,
    blocks: Blocks,
    tags: pa.ListArray,
    titles: pa.ChunkedArray,
    previous: TopicModel | None,
) -> pa.Table:
    """Rows of the table `topics`: the living, and those that this training found empty."""
    from vidtopics.jobs.inputs import lists, moments

    ids = pa.array(topics.topic_ids)
    now = moments(np.array([run.as_of_us]))[0]
    schema = arrow_schema(TOPICS, TOPICS.columns)
    old = previous.topics if previous else schema.empty_table()
    living = {
        "topic_id": ids,
        "centroid": lists(topics.centroids),
        "size": pa.array(topics.sizes),
        "label_terms": label_terms_of(run, topics, blocks, tags, titles),
        "topic_epoch": pa.repeat(topics.epoch, len(ids)),
        "born": pc.fill_null(
            old["born"].take(pc.index_in(ids, value_set=old["topic_id"].combine_chunks())), now
        ),
        "retired": pa.nulls(len(ids), now.type),
    }
    gone = _retired(old, topics, now).cast(schema)
    return pa.concat_tables([pa.table(living, schema=schema), gone]).combine_chunks()


def label_terms_of(
    run: Run, topics: Topics, blocks: Blocks, tags: pa.ListArray, titles: pa.ChunkedArray
) -> pa.Array:
    """Label terms of each topic, from tags and titles of the videos whose nearest topic it is."""
    from producers.topics.assignment import top_centroids
    from producers.topics.labels import label_terms
    from vidtopics.jobs.topic_blocks import represent_with

    settings = run.settings.topics
    a = represent_with(settings.tag_weight, settings.joint_weight, blocks)
    nearest = topics.topic_ids[top_centroids(a, topics.centroids, 1, device="cpu")[0][:, 0]]
    topic = np.where(np.linalg.norm(a, axis=1) > 0, nearest, -1)
    terms = label_terms(
        topics.topic_ids, topic, tags, titles.combine_chunks(), terms=settings.label_terms
    )
    return pa.array(terms, pa.list_(pa.string()))


def _retired(old: pa.Table, topics: Topics, now: pa.Scalar) -> pa.Table:
    """Topics that this training found empty, with its time; the next version lacks them."""
    gone = old.filter(pc.is_in(old["topic_id"], value_set=pa.array(topics.retired)))
    if len(gone) and len(gone["centroid"][0]) != topics.centroids.shape[1]:
        return gone.slice(0, 0)  # of another width: its centres can't stand beside the new ones
    size, when = (gone.schema.get_field_index(name) for name in ("size", "retired"))
    gone = gone.set_column(size, "size", pa.repeat(0, len(gone)).cast(pa.int64()))
    return gone.set_column(when, "retired", pa.repeat(now, len(gone)))


def _unused_topics(clusters: int, rows: pa.Table) -> list[str]:
    """How many clusters stayed without a video, and how many topics without a label."""
    labels = rows.filter(pc.is_null(rows["retired"]))["label_terms"]
    topics, unlabelled = len(labels), pc.sum(pc.equal(pc.list_value_length(labels), 0)).as_py()
    left_out = []
    if empty := clusters - topics:
        left_out.append(f"no video for {empty} of {clusters} clusters: too few differ")
    if unlabelled:
        left_out.append(f"no label for {unlabelled} of {topics} topics: no tag and no title")
    return left_out


def comparable(settings: Settings) -> str:
    """Equal where topic IDs of two versions can be compared: same representations, same weights."""
    return digest(
        joint_space(settings.content),
        settings.topics.tag_weight,
        settings.topics.joint_weight,
        settings.tags.dimensions,
    )


def joint_space(settings: ContentSettings) -> str:
    """Equal where two joint models' z can be compared: same encoders, same shape."""
    return digest(
        encoder_identity(settings),
        settings.projection_width,
        settings.experts,
        settings.expert_width,
        settings.tower_width,
    )


def _continues(settings: ContentSettings, previous: Version) -> bool:
    return joint_space(settings) == str(previous.settings["joint_space"])


def _manifest(
    run: Run,
    previous: TopicModel | None,
    joint: JointModel,
    topics: Topics,
    evaluation: Mapping[str, float],
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
        key=_key(run, number),
        encoder=encoder_identity(settings.content),
        comparable=comparable(settings),
        settings={
            **sections,
            "seed": settings.seed,
            "joint_space": joint_space(settings.content),
        },
        epoch=topics.epoch,
        next_topic_id=topics.next_id,
        shape=vars(joint.shape),
        numbers={
            "tag_weight": settings.topics.tag_weight,
            "joint_weight": settings.topics.joint_weight,
            "threshold": topics.threshold,
        },
        evaluation=dict(evaluation),
    )


def _key(run: Run, previous: int) -> str:
    """Equal where a training would give the same version."""
    inputs: dict[str, int] = {}
    for table in INPUTS:
        inputs |= run.tables.input_versions(
            [table], as_of_us=run.as_of_us, known_by_us=run.known_by(table)
        )
    settings = run.settings
    return digest(
        inputs,
        previous,
        removals_due(run) if run.live else run.as_of_us,
        settings.content,
        settings.tags,
        settings.topics,
        settings.ingest.max_image_pixels,
        settings.seed,
        encoder_identity(settings.content),
        source_hash(*CODE),
    )


def _is_of(run: Run, version: Version) -> bool:
    """Whether a run like this one made the version."""
    return version.live if run.live else version.as_of_us == run.as_of_us
