"""video_topics: the 8-slot topic ID feature, the nearest centres within tau_3 (paper, III-A3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from vidtopics.contracts import (
    TOPICS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import reusable_rows

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

    rows = reusable_rows(run, JOB, VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION)
    blocks = read_blocks(run, without=rows["video_id"].combine_chunks())
    if len(blocks.video_ids):
        rows = pa.concat_tables([rows, assigned(run.model, blocks).cast(rows.schema)])
    count, below = (rows[name].to_numpy() for name in ("topic_count", "below_threshold"))
    videos = max(len(rows), 1)
    figures = (count.sum() / videos, below.sum() / videos, int((count == 0).sum()))
    return _computed(rows, figures, computed=len(blocks.video_ids))


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
            blocks = blocks_of(rows, rows)
            yield from assigned(shared.value, blocks).to_batches()

    joined = run.frame(VIDEO_TAG_EMBEDDING).join(run.frame(VIDEO_JOINT_REPRESENTATION), "video_id")
    rows = joined.mapInArrow(assign_rows, SCHEMA).persist()
    means = (F.avg("topic_count"), F.avg(F.col("below_threshold").cast("double")))
    figures = rows.agg(*means, F.count_if(F.col("topic_count") == 0)).first()
    assert figures is not None
    return _computed(rows, (figures[0] or 0.0, figures[1] or 0.0, figures[2]), rows.unpersist)


def assigned(model: TopicModel, blocks: Blocks) -> pa.Table:
    """Rows of `video_topics` for some videos."""
    from producers.topics.assignment import assign
    from vidtopics.jobs.inputs import lists
    from vidtopics.jobs.topic_blocks import (
        parents_of,
        represent,
        space_of,
        thresholds_of,
        topics_of,
    )

    topics = topics_of(model)
    least = thresholds_of(model).of_rows(blocks.has_tag, blocks.has_joint)
    a = represent(space_of(model), blocks)
    assignment = assign(a, topics.centroids, topics.topic_ids, least)
    columns = {
        "video_id": blocks.video_ids,
        "topic_ids": lists(assignment.topic_ids),
        "topic_weights": lists(assignment.topic_weights),
        "parent_topic_ids": lists(parents_of(model).of_slots(assignment.topic_ids)),
        "topic_count": pa.array(assignment.topic_count),
        "below_threshold": pa.array(assignment.below_threshold),
        "topic_epoch": pa.repeat(topics.epoch, len(blocks.video_ids)),
    }
    return pa.table(columns)


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
        "vidtopics.jobs.inputs",
        "producers.topics",
        "producers.unit_length",
    ),
    infers=True,
)

if __name__ == "__main__":
    main(JOB)
