"""topics: spherical K-means over topic representations, with IDs that outlive a run (III-A3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import (
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TAGS,
)
from vidtopics.jobs.checks import require_videos_for_clusters
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.settings import digest
from vidtopics.tables.commits import CommitLog
from vidtopics.tables.schemas import arrow_schema

if TYPE_CHECKING:
    from producers.topics.evolution import Topics


def compute(run: Run) -> Computed:
    """Cluster from the last run's centres, so that IDs stay, and label the result."""
    from producers.topics.evolution import learn_topics
    from vidtopics.jobs.inputs import lists, moments
    from vidtopics.jobs.topic_blocks import read_blocks, represent

    blocks, settings = read_blocks(run), run.settings.topics
    a = represent(settings, blocks)
    space = digest(
        run.commit_of(VIDEO_JOINT_REPRESENTATION).facts["space"],
        settings.tag_weight,
        settings.joint_weight,
        run.settings.tags.dimensions,
    )
    before = run.before(TOPICS)
    old = run.read_before(TOPICS).sort_by("topic_id").combine_chunks()
    topics = learn_topics(
        a,
        previous=last_topics(old, before.facts) if before else None,
        settings=settings,
        seed=run.settings.seed,
        new_epoch=before is not None and before.facts["space"] != space,
    )
    if before is None or topics.epoch != before.facts["topic_epoch"]:
        topics = replace(topics, epoch=unused_epoch(topics.epoch, run.tables.commits(TOPICS)))
    ids = pa.array(topics.topic_ids)
    now = moments(np.array([run.as_of_us]))[0]
    live = {
        "topic_id": ids,
        "centroid": lists(topics.centroids),
        "size": pa.array(topics.sizes),
        "label_terms": labels(run, blocks.video_ids, a, topics),
        "topic_epoch": pa.repeat(topics.epoch, len(ids)),
        "born": pc.fill_null(
            old["born"]
            .combine_chunks()
            .take(pc.index_in(ids, value_set=old["topic_id"].combine_chunks())),
            now,
        ),
        "retired": pa.nulls(len(ids), now.type),
    }
    schema = arrow_schema(TOPICS, TOPICS.columns)
    rows = pa.concat_tables([pa.table(live, schema=schema), retired(old, topics, now).cast(schema)])
    facts: dict[str, float | str] = {
        "space": space,
        "topic_epoch": topics.epoch,
        "topics": len(ids),
        "topics_born": len(topics.born),
        "topics_retired": len(topics.retired),
        "next_topic_id": topics.next_id,
        "topic_training": topics.training,
        "threshold": topics.threshold,
    }
    return Computed(
        rows,
        widths={"topic_width": a.shape[1]},
        facts=facts,
        left_out=unused_topics(settings.clusters, live["label_terms"]),
    )


def unused_epoch(epoch: int, log: CommitLog) -> int:
    """The first epoch from this one on that none of the rolled-back runs had."""
    valid = {commit.version for commit in log.standing()}
    taken_back = {int(c.facts.get("topic_epoch", 0)) for c in log if c.version not in valid}
    return next(number for number in count(epoch) if number not in taken_back)


def unused_topics(clusters: int, label_terms: pa.Array) -> list[str]:
    """How many clusters stayed without a video, and how many topics without a label.

    >>> unused_topics(4, pa.array([["cat"], [], ["dog"]]))
    ['no video for 1 of 4 clusters: too few differ',
     'no label for 1 of 3 topics: no tag and no title']
    """
    topics, unlabelled = len(label_terms), pc.sum(pc.equal(pc.list_value_length(label_terms), 0))
    left_out = []
    if empty := clusters - topics:
        left_out.append(f"no video for {empty} of {clusters} clusters: too few differ")
    if count := unlabelled.as_py():
        left_out.append(f"no label for {count} of {topics} topics: no tag and no title")
    return left_out


def last_topics(old: pa.Table, facts: Mapping[str, float | str]) -> Topics:
    """The living topics of the last run; how closely videos lay to them isn't in the table."""
    from producers.topics.evolution import Topics
    from vidtopics.jobs.inputs import vectors

    live = old.filter(pc.is_null(old["retired"]))
    none = np.empty(0, np.int64)
    return Topics(
        live["topic_id"].to_numpy(),
        vectors(live["centroid"]).copy(),
        live["size"].to_numpy(),
        cohesion=np.zeros(len(live), np.float32),
        split_from=np.zeros(len(live), np.int64),
        born=none,
        retired=none,
        next_id=int(facts["next_topic_id"]),
        epoch=int(facts["topic_epoch"]),
        threshold=float(facts["threshold"]),
        training=int(facts.get("topic_training", 1)),
    )


def labels(
    run: Run,
    video_ids: pa.ChunkedArray,
    a: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    topics: Topics,
) -> pa.Array:
    """Label terms of each topic, from tags and titles of the videos whose nearest topic it is."""
    from producers.topics.assignment import top_centroids
    from producers.topics.labels import label_terms
    from vidtopics.jobs.inputs import live_videos, tag_lists

    nearest = topics.topic_ids[top_centroids(a, topics.centroids, 1, device="cpu")[0][:, 0]]
    topic = np.where(np.linalg.norm(a, axis=1) > 0, nearest, -1)
    videos = live_videos(run, "title")
    titles = videos["title"].take(
        pc.index_in(video_ids, value_set=videos["video_id"].combine_chunks())
    )
    terms = run.settings.topics.label_terms
    terms_of_topics = label_terms(
        topics.topic_ids, topic, tag_lists(run, video_ids), titles.combine_chunks(), terms=terms
    )
    return pa.array(terms_of_topics, pa.list_(pa.string()))


def retired(old: pa.Table, topics: Topics, now: pa.Scalar) -> pa.Table:
    """Topics that this run found empty, written once with its time; the next run ends them."""
    gone = old.filter(pc.is_in(old["topic_id"], value_set=pa.array(topics.retired)))
    if len(gone) and len(gone["centroid"][0]) != topics.centroids.shape[1]:
        gone = gone.slice(
            0, 0
        )  # an epoch of another width: its centres can't stand beside the new ones
    size, when = (gone.schema.get_field_index(name) for name in ("size", "retired"))
    gone = gone.set_column(size, "size", pa.repeat(0, len(gone)).cast(pa.int64()))
    return gone.set_column(when, "retired", pa.repeat(now, len(gone)))


JOB = Job(
    TOPICS,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS, VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION),
    compute=compute,
    settings=lambda s: s.topics,
    code=(
        "spark_jobs.topics",
        "vidtopics.jobs.topic_blocks",
        "vidtopics.jobs.inputs",
        "producers.topics",
        "producers.unit_length",
    ),
    warm=True,
    check=require_videos_for_clusters,
)

if __name__ == "__main__":
    main(JOB)
