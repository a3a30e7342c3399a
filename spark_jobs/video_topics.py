"""video_topics: the 8-slot topic ID feature, the nearest centres within tau_3 (paper, III-A3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from vidtopics.contracts import (
    TOPICS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import LastResult
from vidtopics.tables.schemas import arrow_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vidtopics.jobs.topic_blocks import Blocks
    from vidtopics.topic_models import TopicModel

NOTHING_TO_SEE = "no cover, no title and no tag that has a vector"
SCHEMA = (
    "video_id string, topic_ids array<bigint>, topic_weights array<float>, "
    "parent_topic_ids array<bigint>, topic_count bigint, below_threshold boolean, "
    "topic_epoch bigint"
)


def compute(run: Run) -> Computed:
    """Assign the videos whose blocks are new or changed; the others' rows stay as they are."""
    from vidtopics.jobs.topic_blocks import read_blocks

    inputs = (VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION)
    last = LastResult.of(run, JOB, *inputs)
    changed = [last.changed(table)["video_id"] for table in inputs]
    of_videos = pa.chunked_array([c for part in changed for c in part.chunks], pa.string())
    reused = last.rows("topic_count", "below_threshold", without=of_videos)
    parts = read_blocks(run, without=reused["video_id"].combine_chunks())
    none = arrow_schema(VIDEO_TOPICS, VIDEO_TOPICS.columns).empty_table()
    rows = pa.concat_tables([none, *(assigned(run.model, part) for part in parts)])
    rows = rows.sort_by("video_id")
    judged = pa.concat_tables(
        [part.select(["topic_count", "below_threshold"]) for part in (rows, reused)]
    )
    count, below = (judged[name].to_numpy() for name in judged.column_names)
    videos = max(len(judged), 1)
    figures = (count.sum() / videos, below.sum() / videos, int((count == 0).sum()))
    return replace(_computed(rows, figures, computed=len(rows)), reused=reused)


def distribute(run: Run) -> Computed:
    """The same on executors, all videos anew; the model is broadcast."""
    from pyspark.sql import functions as F

    from vidtopics.jobs.topic_blocks import blocks_of

    shared = run.spark.sparkContext.broadcast(run.model)

    def assign_rows(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        torch.set_num_threads(1)  # each executor core has a worker of its own
        for batch in batches:
            rows = pa.Table.from_batches([batch])
            yield from assigned(shared.value, blocks_of(rows)).to_batches()

    joined = run.frame(VIDEO_TAG_EMBEDDING).join(run.frame(VIDEO_JOINT_REPRESENTATION), "video_id")
    rows = joined.mapInArrow(assign_rows, SCHEMA).persist()
    means = (F.avg("topic_count"), F.avg(F.col("below_threshold").cast("double")))
    figures = rows.agg(*means, F.count_if(F.col("topic_count") == 0)).first()
    assert figures is not None
    return _computed(rows, (figures[0] or 0.0, figures[1] or 0.0, figures[2]), rows.unpersist)


def assigned(model: TopicModel, blocks: Blocks) -> pa.Table:
    """Rows of `video_topics` for some videos."""
    schema = arrow_schema(VIDEO_TOPICS, VIDEO_TOPICS.columns)
    if not len(blocks.video_ids):
        return schema.empty_table()
    from producers.topics.assignment import assign
    from vidtopics.jobs.inputs import lists, vectors
    from vidtopics.jobs.topic_blocks import (
        living_topics,
        parents_of,
        represent,
        space_of,
        thresholds_of,
    )

    topics = living_topics(model)
    topic_ids, centroids = topics["topic_id"].to_numpy(), vectors(topics["centroid"])
    least = thresholds_of(model).of_rows(blocks.has_tag, blocks.has_joint)
    a = represent(space_of(model), blocks)
    assignment = assign(a, centroids, topic_ids, least)
    columns = {
        "video_id": blocks.video_ids,
        "topic_ids": lists(assignment.topic_ids),
        "topic_weights": lists(assignment.topic_weights),
        "parent_topic_ids": lists(parents_of(model).of_slots(assignment.topic_ids)),
        "topic_count": pa.array(assignment.topic_count),
        "below_threshold": pa.array(assignment.below_threshold),
        "topic_epoch": pa.repeat(model.version.epoch, len(blocks.video_ids)),
    }
    return pa.table(columns, schema=schema)


def _computed(
    rows: pa.Table | DataFrame,
    figures: tuple[float, float, int],
    close: Callable[[], object] = lambda: None,
    **facts: float,
) -> Computed:
    mean, below, without = figures
    left_out = [f"{without} videos have no topic: {NOTHING_TO_SEE}"] if without else []
    facts |= {"topics_per_video": mean, "below_threshold": below}
    return Computed(rows, facts=facts, left_out=left_out, close=close)


JOB = Job(
    VIDEO_TOPICS,
    inputs=(TOPICS, VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION),
    compute=compute,
    distribute=distribute,
    settings=lambda s: None,
    code=(
        "spark_jobs.video_topics",
        "vidtopics.jobs.topic_blocks",
        "vidtopics.jobs.encodings",
        "vidtopics.jobs.inputs",
        "producers.topics",
        "producers.unit_length",
    ),
    infers=True,
)

if __name__ == "__main__":
    main(JOB)
