"""Training makes a topic model version; every run until the next one infers with it.

What the two share is in the version: the joint model, the tag space, block weights, thresholds and
topics (docs/models.md). A version goes on from the one in force before it, so that representations
and topic IDs stay comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

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
from vidtopics.jobs.content_training import continues, joint_space
from vidtopics.jobs.inputs import training_videos
from vidtopics.jobs.job import Job, Run, removals_due
from vidtopics.jobs.labellers import load_labeller
from vidtopics.settings import Settings, digest
from vidtopics.source import source_hash
from vidtopics.tables.schemas import arrow_schema
from vidtopics.times import micros
from vidtopics.topic_models import TopicModel, Version, load, save

if TYPE_CHECKING:
    from producers.tags.vectors import TagVectors
    from producers.topics.evolution import Topics
    from producers.topics.parents import Parents
    from producers.topics.space import TopicSpace
    from producers.topics.thresholds import Thresholds
    from vidtopics.jobs.content_training import LearnedContent
    from vidtopics.jobs.inputs import Encodings
    from vidtopics.jobs.topic_blocks import Blocks

CODE = (
    "vidtopics.jobs.training",
    "vidtopics.jobs.content_training",
    "vidtopics.jobs.fine_tuning",
    "vidtopics.jobs.topic_blocks",
    "vidtopics.jobs.topic_learning",
    "vidtopics.jobs.space_calibration",
    "vidtopics.jobs.inputs",
    "producers.content",
    "producers.tags",
    "producers.topics",
    "producers.unit_length",
)
"""Modules whose source a version depends on."""
INPUTS = (VIDEO_CATALOG, VIDEO_TAGS)
LIMITS = {"least_cosine", "most_below_threshold", "most_new_tags", "most_age"}
"""Settings of `topics` that say when a training is needed, and change nothing of what it gives."""
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
    from vidtopics.jobs.topic_blocks import make_blocks, parents_of, represent
    from vidtopics.jobs.topic_learning import learn_topics_of

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
    blocks = make_blocks(videos["video_id"], content.joint, content.encodings, tags, vectors)
    space, calibration = learn_space(
        run, videos, tags, content.encodings, blocks, trains, previous if keeps else None
    )
    a = represent(space, blocks)
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
    unused = _unused_topics(run.settings.topics.clusters, rows)
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


def learn_tags(
    run: Run, tags: pa.LargeListArray, previous: TopicModel | None, *, keeps_space: bool
) -> tuple[pa.Table, TagVectors, list[str]]:
    """Walk, learn, and turn the space onto the last version's, so that vectors stay comparable.

    Returns:
        Rows of `tag_embedding`, the same as vectors, and what could not be learned.
    """
    from producers.tags.graph import build_graph
    from producers.tags.skipgram import embed_tags, keep_known
    from producers.tags.vectors import TagVectors
    from vidtopics.jobs.graph_engine import find_components
    from vidtopics.jobs.inputs import count_tags, lists, vectors

    run.progress("tag vectors")
    settings = run.settings.tags
    if previous and not len(tags):  # all are held out
        names, old = previous.tags["tag"].combine_chunks(), vectors(previous.tags["tag_vector"])
        return previous.tags, TagVectors(names, old), []
    counted = count_tags(tags, settings.min_videos)
    edges = run.read(TAG_COOCCURRENCE).combine_chunks()
    a, b = edges["tag_a"].combine_chunks(), edges["tag_b"].combine_chunks()
    graph = build_graph(a, b, edges["videos"].to_numpy(), isolated=counted["tag"].combine_chunks())
    old = vectors(previous.tags["tag_vector"]) if previous else np.empty((0, 0), np.float32)
    initial = None
    if previous and len(old) and old.shape[1] == settings.dimensions:
        initial = TagVectors(previous.tags["tag"].combine_chunks(), old)
    embedding = embed_tags(graph, settings, seed=run.settings.seed, initial=initial)
    if initial is not None and keeps_space:
        embedding = keep_known(embedding, initial)
    columns = {
        "tag": embedding.tags,
        "tag_vector": lists(embedding.vectors),
        "video_count": counted["video_count"].take(
            pc.index_in(embedding.tags, value_set=counted["tag"].combine_chunks())
        ),
        "component": find_components(run, graph),
    }
    remarks = [NOT_LEARNED] if len(graph) and not len(edges) else []
    return pa.table(columns), embedding, remarks


def learn_space(
    run: Run,
    videos: pa.Table,
    tags: pa.LargeListArray,
    encodings: Encodings,
    blocks: Blocks,
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
    blocks: Blocks,
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
        **labels_of(run, a, topics, parents, tags, titles),
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


def labels_of(
    run: Run,
    a: NDArray[np.float32],
    topics: Topics,
    parents: Parents,
    tags: pa.LargeListArray,
    titles: pa.ChunkedArray,
) -> dict[str, pa.Array]:
    """Label terms of each topic and of its parent, by the videos whose nearest topic it is."""
    from producers.topics.assignment import top_centroids
    from vidtopics.jobs.labellers import label_topics

    rank, cosine = top_centroids(a, topics.centroids, 1, device="cpu")
    topic = np.where(np.linalg.norm(a, axis=1) > 0, topics.topic_ids[rank[:, 0]], -1)
    labels = label_topics(
        run.settings.topics, parents, topic, cosine[:, 0], tags, titles.combine_chunks()
    )
    names = ("label_terms", "parent_label_terms")
    return {
        name: pa.array(terms, pa.list_(pa.string()))
        for name, terms in zip(names, labels, strict=True)
    }


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


class Size(NamedTuple):
    """What a space is learned from: videos that train, and tags given to them."""

    videos: int
    tags: int


def learning_size(tags: pa.LargeListArray, trains: NDArray[np.bool_]) -> Size:
    """The size of a catalogue: tags list<string>[N], and which videos train, bool[N]."""
    given = pc.sum(pc.list_value_length(tags.filter(pa.array(trains)))).as_py()
    return Size(int(trains.sum()), given or 0)


def size_of(version: Version) -> Size:
    """What a version's space was learned from; no tags where it doesn't say."""
    numbers = version.numbers
    return Size(int(numbers["space_videos"]), int(numbers.get("space_tags", 0)))


def growth_of(version: Version, size: Size) -> float:
    """The greater of how many times the videos and the tags a catalogue has, of the version's."""
    return max(now / max(then, 1) for now, then in zip(size, size_of(version), strict=True))


def keeps_space(settings: Settings, previous: TopicModel | None, size: Size) -> bool:
    """Whether a training leaves joint model and known tags' vectors as they are in a version.

    `size`: what it would be learned from now.
    """
    if previous is None or previous.version.comparable != comparable(settings):
        return False
    return growth_of(previous.version, size) < settings.topics.relearn_growth


def comparable(settings: Settings) -> str:
    """Equal where topic IDs of two versions can be compared: same representations, same weights."""
    return digest(
        joint_space(settings.content),
        settings.topics.tag_weight,
        settings.topics.joint_weight,
        settings.topics.centre_tags,
        settings.tags.dimensions,
    )


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
        settings.topics.model_dump(mode="json", exclude=LIMITS),
        settings.ingest.max_image_pixels,
        settings.seed,
        encoder_identity(settings.content),
        source_hash(*CODE),
    )


def is_current(run: Run, version: Version) -> bool:
    """Whether a training as of the run would give the version again."""
    same_time = version.live if run.live else version.as_of_us == run.as_of_us
    return same_time and version.key == training_key(run, version.previous)
