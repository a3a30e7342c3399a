"""Training makes a topic model version; every run until the next one infers with it.

What the two share is in the version: the joint model, the tag space, block weights, thresholds and
topics (docs/models.md). A version goes on from the one in force before it, so that representations
and topic IDs stay comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
    from producers.tags.graph import TagGraph
    from producers.tags.skipgram import TagVectors
    from producers.topics.evolution import Topics
    from producers.topics.parents import Parents
    from producers.topics.space import TopicSpace
    from producers.topics.thresholds import Thresholds
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
    """A version, whether it is new, and what was asked before: figures, and why it was trained.

    Both are empty where nothing was asked.
    """

    version: Version
    is_new: bool
    figures: Sequence[str] = ()
    reasons: Sequence[str] = ()


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
    if current and current.key == training_key(run, current.previous) and _is_of(run, current):
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
    from producers.topics.parents import group_topics
    from vidtopics.jobs.inputs import held_out, live_videos, read_encodings, tag_lists
    from vidtopics.jobs.topic_blocks import parents_of, represent

    columns = ("content_hash", "primary_classes", "secondary_classes", "title")
    videos = live_videos(run, *columns)
    trains = ~held_out(videos["content_hash"], run.settings.content)
    encodings = read_encodings(videos["content_hash"], run)
    tags = tag_lists(run, videos["video_id"])
    joint, losses, left_out = learn_joint(run, videos, tags, encodings, trains, previous)
    tag_rows, vectors, remarks = learn_tags(run, tags.filter(pa.array(trains)), previous)
    blocks = make_blocks(videos["video_id"], joint, encodings, tags, vectors)
    space = learn_space(run, blocks, trains, previous)
    a = represent(space, blocks)
    topics = learn_topics_of(run, a, previous)
    thresholds = learn_thresholds(run, a, blocks, topics, previous)
    parents = group_topics(
        topics.topic_ids,
        topics.centroids,
        topics.sizes,
        parents_of(previous) if previous else None,
        seed=run.settings.seed,
    )
    rows = topic_rows(run, a, topics, parents, tags, videos["title"], previous)
    left_out += [*remarks, *_unused_topics(run.settings.topics.clusters, rows)]
    figures = losses | judge(a, blocks, topics, thresholds)
    numbers = {
        "tag_weight": space.tag_weight,
        "joint_weight": space.joint_weight,
        **{f"threshold_{name}": value for name, value in asdict(thresholds).items()},
        "threshold": topics.threshold,
        "training": topics.training,
        "next_parent_id": parents.next_id,
    }
    version = _manifest(run, previous, joint, topics)
    return TopicModel(
        replace(version, left_out=left_out, evaluation=figures, numbers=numbers),
        {name: x.numpy() for name, x in joint.state_dict().items()},
        {
            "tag_mean": space.tag_mean,
            "cohesion": topics.cohesion,
            "parent_ids": parents.ids,
            "parent_centroids": parents.centroids,
        },
        tag_rows,
        rows,
    )


def learn_joint(
    run: Run,
    videos: pa.Table,
    tags: pa.LargeListArray,
    encodings: Encodings,
    trains: NDArray[np.bool_],
    previous: TopicModel | None,
) -> tuple[JointModel, dict[str, float], list[str]]:
    """Eq. 2 on the videos that aren't held out, from the last version's weights where comparable.

    Returns:
        The joint model, its last losses by task, and what it could not learn.
    """
    from vidtopics.jobs.inputs import take

    settings, train_rows = run.settings.content, np.flatnonzero(trains)
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
    videos: pa.Table, tags: pa.LargeListArray, rows: NDArray[np.int64], settings: ContentSettings
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
    run: Run, tags: pa.LargeListArray, previous: TopicModel | None
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
        "component": components_by_engine(run, graph),
    }
    remarks = [NOT_LEARNED] if len(graph) and not len(edges) else []
    return pa.table(columns), embedding, remarks


def components_by_engine(run: Run, graph: TagGraph) -> NDArray[np.int64]:
    """Each tag's component, int64[T]; both engines give the same numbers."""
    if run.settings.tags.engine == "local" or not len(graph):
        return graph.components()
    from vidtopics.jobs.graph_engine import components

    return components(graph, run.spark)


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
    from vidtopics.jobs.topic_blocks import Blocks

    z, content_blocks = joint_representation(joint, *encodings)
    pooled = pool_lists(tags, vectors)
    return Blocks(video_ids, pooled.tag_embedding, z, pooled.tag_count > 0, content_blocks > 0)


def learn_space(
    run: Run, blocks: Blocks, trains: NDArray[np.bool_], previous: TopicModel | None
) -> TopicSpace:
    """How the blocks are joined: as before in an epoch, else by the videos that train."""
    from producers.topics.space import TopicSpace, mean_tag_block
    from vidtopics.jobs.topic_blocks import space_of

    if previous and previous.version.comparable == comparable(run.settings):
        return space_of(previous)
    settings = run.settings.topics
    mean = mean_tag_block(blocks.tag[trains], blocks.has_tag[trains])
    return TopicSpace(mean, settings.tag_weight, settings.joint_weight)


def learn_topics_of(run: Run, a: NDArray[np.float32], previous: TopicModel | None) -> Topics:
    """Learn topics from the last version's, so that IDs stay."""
    from producers.topics.evolution import learn_topics
    from vidtopics.jobs.topic_blocks import topics_of

    run.progress("topics")
    saved = versions(run.tables.home)
    before = topics_of(previous) if previous else None
    if before:  # an ID is given once, whatever became of the version that gave it
        highest = max(version.next_topic_id for version in saved)
        before = replace(before, next_id=max(before.next_id, highest))
    topics = learn_topics(
        a,
        previous=before,
        settings=run.settings.topics,
        seed=run.settings.seed,
        new_epoch=previous is not None and previous.version.comparable != comparable(run.settings),
    )
    if before is None or topics.epoch != before.epoch:
        used = max((version.epoch for version in saved), default=0)
        topics = replace(topics, epoch=max(topics.epoch, used + 1))
    return topics


def learn_thresholds(
    run: Run,
    a: NDArray[np.float32],
    blocks: Blocks,
    topics: Topics,
    previous: TopicModel | None,
) -> Thresholds:
    """As before in an epoch, as others would move all videos; else as set, or calibrated."""
    from producers.topics.thresholds import Thresholds, calibrate_thresholds
    from vidtopics.jobs.topic_blocks import thresholds_of

    settings = run.settings.topics
    if not settings.target_topics:
        return Thresholds(settings.threshold, settings.threshold, settings.threshold)
    if previous and previous.version.epoch == topics.epoch:
        return thresholds_of(previous)
    return calibrate_thresholds(
        a,
        blocks.has_tag,
        blocks.has_joint,
        topics.centroids,
        settings.target_topics,
        tag_width=blocks.tag.shape[1],
        seed=run.settings.seed,
    )


def judge(
    a: NDArray[np.float32], blocks: Blocks, topics: Topics, thresholds: Thresholds
) -> dict[str, float]:
    """Figures of the training, which later ones are compared with."""
    from producers.topics.assignment import assign

    least = thresholds.of_rows(blocks.has_tag, blocks.has_joint)
    assignment = assign(a, topics.centroids, topics.topic_ids, least)
    has = assignment.topic_count > 0
    return {
        "videos": len(a),
        "topics": len(topics.topic_ids),
        "born": len(topics.born),
        "retired": len(topics.retired),
        "topics_per_video": float(assignment.topic_count.mean()),
        "cosine": float(assignment.topic_weights[has, 0].mean(dtype=np.float64)),
        "below_threshold": float(assignment.below_threshold[has].mean()),
    }


def topic_rows(
    run: Run,
    a: NDArray[np.float32],
    topics: Topics,
    parents: Parents,
    tags: pa.LargeListArray,
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
        "label_terms": label_terms_of(run, a, topics, tags, titles),
        "topic_epoch": pa.repeat(topics.epoch, len(ids)),
        "born": pc.fill_null(
            old["born"].take(pc.index_in(ids, value_set=old["topic_id"].combine_chunks())), now
        ),
        "retired": pa.nulls(len(ids), now.type),
        "split_from": pa.array(topics.split_from),
        "parent_topic_id": pa.array(parents.parent_ids),
    }
    gone = _retired(old, topics, now).cast(schema)
    return pa.concat_tables([pa.table(living, schema=schema), gone]).combine_chunks()


def label_terms_of(
    run: Run,
    a: NDArray[np.float32],
    topics: Topics,
    tags: pa.LargeListArray,
    titles: pa.ChunkedArray,
) -> pa.Array:
    """Label terms of each topic, from tags and titles of the videos whose nearest topic it is."""
    from producers.topics.assignment import top_centroids
    from producers.topics.labels import label_terms

    settings = run.settings.topics
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
    if (empty := clusters - topics) > 0:
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
        numbers={},
        evaluation={},
    )


def training_key(run: Run, previous: int) -> str:
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
