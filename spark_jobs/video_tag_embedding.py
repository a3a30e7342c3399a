"""video_tag_embedding: the mean of a video's tag vectors (Eq. 4)."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from vidtopics.contracts import TAG_EMBEDDING, VIDEO_CATALOG, VIDEO_TAG_EMBEDDING, VIDEO_TAGS
from vidtopics.jobs.job import Computed, Job, Run, main


def compute(run: Run) -> Computed:
    """Pool the tag vectors of every live video on the executors; the vectors are broadcast."""
    from pyspark.sql import functions as F

    from producers.tags.pooling import pool_lists
    from producers.tags.skipgram import TagVectors
    from vidtopics.jobs.frames import live_videos, tags_of_live_videos
    from vidtopics.jobs.inputs import lists, vectors

    tag_vectors = run.read(TAG_EMBEDDING, "tag", "tag_vector").sort_by("tag")
    shared = run.spark.sparkContext.broadcast(
        (
            tag_vectors["tag"].combine_chunks(),
            vectors(tag_vectors["tag_vector"], run.settings.tags.dimensions),
        )
    )

    def pool(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        embedding = TagVectors(*shared.value)
        for batch in batches:
            pooled = pool_lists(batch["tags"], embedding)
            columns = [batch["video_id"], lists(pooled.tag_embedding), pa.array(pooled.tag_count)]
            yield pa.record_batch(columns, names=["video_id", "tag_embedding", "tag_count"])

    tags = tags_of_live_videos(run).groupBy("video_id").agg(F.collect_list("tag").alias("tags"))
    videos = live_videos(run).select("video_id").join(tags, "video_id", "left")
    rows = videos.mapInArrow(pool, "video_id string, tag_embedding array<float>, tag_count bigint")
    left_out = [] if len(tag_vectors) else ["no tag has a vector: every tag embedding is zero"]
    return Computed(rows, widths={"tag_width": run.settings.tags.dimensions}, left_out=left_out)


JOB = Job(
    VIDEO_TAG_EMBEDDING,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS, TAG_EMBEDDING),
    compute=compute,
    settings=lambda s: s.tags.dimensions,
    code=(
        "spark_jobs.video_tag_embedding",
        "vidtopics.jobs.frames",
        "vidtopics.jobs.inputs",
        "producers.tags.pooling",
        "producers.unit_length",
    ),
)

if __name__ == "__main__":
    main(JOB)
