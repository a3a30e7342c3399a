"""video_topics: the 8-slot topic ID feature, the nearest centres within tau_3 (paper, III-A3)."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import (
    TOPICS,
    VIDEO_JOINT_REPRESENTATION,
    VIDEO_TAG_EMBEDDING,
    VIDEO_TOPICS,
)
from vidtopics.jobs.job import Computed, Job, Run, main

NOTHING_TO_SEE = "no cover, no title and no tag that has a vector"
SCHEMA = (
    "video_id string, topic_ids array<bigint>, topic_weights array<float>, topic_count bigint, "
    "below_threshold boolean, topic_epoch bigint"
)


def compute(run: Run) -> Computed:
    """Assign every video on the executors; the centroids are broadcast."""
    from pyspark.sql import functions as F

    from producers.topics.assignment import assign
    from vidtopics.jobs.inputs import lists, vectors
    from vidtopics.jobs.topic_blocks import Blocks, represent

    learned = run.commit_of(TOPICS).facts
    topics = run.read(TOPICS)
    topics = topics.filter(pc.is_null(topics["retired"])).sort_by("topic_id")
    shared = run.spark.sparkContext.broadcast(
        (vectors(topics["centroid"]), topics["topic_id"].to_numpy())
    )
    settings, threshold, epoch = (
        run.settings.topics,
        float(learned["threshold"]),
        int(learned["topic_epoch"]),
    )

    def assigned(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import torch

        torch.set_num_threads(1)  # each executor core has a worker of its own
        for batch in batches:
            rows = pa.Table.from_batches([batch])
            has_tag, has_joint = (
                rows[name].to_numpy() > 0 for name in ("tag_count", "content_blocks")
            )
            blocks = Blocks(
                rows["video_id"],
                vectors(rows["tag_embedding"]),
                vectors(rows["joint_embedding"]),
                has_tag,
                has_joint,
            )
            assignment = assign(represent(settings, blocks), *shared.value, threshold)
            columns = [
                batch["video_id"],
                lists(assignment.topic_ids),
                lists(assignment.topic_weights),
            ]
            columns += [
                pa.array(assignment.topic_count),
                pa.array(assignment.below_threshold),
                pa.repeat(epoch, batch.num_rows),
            ]
            yield pa.record_batch(columns, names=[field.split()[0] for field in SCHEMA.split(", ")])

    joined = run.frame(VIDEO_TAG_EMBEDDING).join(run.frame(VIDEO_JOINT_REPRESENTATION), "video_id")
    rows = joined.mapInArrow(assigned, SCHEMA).persist()
    figures = rows.agg(
        F.avg("topic_count"),
        F.avg(F.col("below_threshold").cast("double")),
        F.count_if(F.col("topic_count") == 0),
    ).first()
    assert figures is not None
    facts = {"topics_per_video": figures[0] or 0.0, "below_threshold": figures[1] or 0.0}
    left_out = [f"{figures[2]} videos have no topic: {NOTHING_TO_SEE}"] if figures[2] else []
    return Computed(rows, facts=facts, left_out=left_out, close=rows.unpersist)


JOB = Job(
    VIDEO_TOPICS,
    inputs=(TOPICS, VIDEO_TAG_EMBEDDING, VIDEO_JOINT_REPRESENTATION),
    compute=compute,
    settings=lambda s: (
        s.topics.tag_weight,
        s.topics.joint_weight,
        s.topics.threshold,
        s.topics.target_topics,
    ),
    code=(
        "spark_jobs.video_topics",
        "vidtopics.jobs.topic_blocks",
        "vidtopics.jobs.inputs",
        "producers.topics",
        "producers.unit_length",
    ),
)

if __name__ == "__main__":
    main(JOB)
