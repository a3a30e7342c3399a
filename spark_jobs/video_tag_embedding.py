"""video_tag_embedding: the mean of a video's tag vectors (Eq. 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from vidtopics.contracts import TAG_EMBEDDING, VIDEO_CATALOG, VIDEO_TAG_EMBEDDING, VIDEO_TAGS
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import LastResult, exclude, select
from vidtopics.tables.schemas import arrow_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from producers.tags.vectors import TagVectors


def compute(run: Run) -> Computed:
    """Pool the tag vectors of the videos whose tags, or a tag's vector, are new or changed."""
    from vidtopics.jobs.inputs import live_videos

    last = LastResult.of(run, JOB, VIDEO_TAGS, TAG_EMBEDDING)
    pairs = run.read(VIDEO_TAGS, "video_id", "tag")
    moved = select(pairs, "tag", last.changed(TAG_EMBEDDING)["tag"])["video_id"]
    changed = last.changed(VIDEO_TAGS)["video_id"]
    live = live_videos(run)
    reused = last.rows(without=pa.chunked_array([*moved.chunks, *changed.chunks], pa.string()))
    reused = select(reused, "video_id", live["video_id"])
    new = exclude(live, "video_id", reused["video_id"])["video_id"]
    rows = _pooled(run, select(pairs, "video_id", new), new)
    return replace(_computed(run, rows, _has_vectors(run)), reused=reused)


def _pooled(run: Run, pairs: pa.Table, video_ids: pa.ChunkedArray) -> pa.Table:
    """Rows of some videos, from (video_id, tag)."""
    schema = arrow_schema(VIDEO_TAG_EMBEDDING, VIDEO_TAG_EMBEDDING.columns)
    if not len(video_ids):
        return schema.empty_table()
    from producers.tags.pooling import pool_lists
    from vidtopics.jobs.inputs import group_tags, lists

    pooled = pool_lists(group_tags(pairs, video_ids), _space(run))
    columns = {
        "video_id": video_ids,
        "tag_embedding": lists(pooled.tag_embedding),
        "tag_count": pooled.tag_count,
    }
    return pa.table(columns, schema=schema)


def _has_vectors(run: Run) -> bool:
    return bool(len(run.read(TAG_EMBEDDING, "tag")))


def distribute(run: Run) -> Computed:
    """The same on executors; the vectors are broadcast."""
    from pyspark.sql import functions as F

    from producers.tags.pooling import pool_lists
    from producers.tags.vectors import TagVectors
    from vidtopics.jobs.frames import live_videos, tags_of_live_videos
    from vidtopics.jobs.inputs import lists

    space = _space(run)
    shared = run.spark.sparkContext.broadcast(tuple(space))

    def pool(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        embedding = TagVectors(*shared.value)
        for batch in batches:
            pooled = pool_lists(batch["tags"], embedding)
            columns = [batch["video_id"], lists(pooled.tag_embedding), pa.array(pooled.tag_count)]
            yield pa.record_batch(columns, names=["video_id", "tag_embedding", "tag_count"])

    tags = tags_of_live_videos(run).groupBy("video_id").agg(F.collect_list("tag").alias("tags"))
    videos = live_videos(run).join(tags, "video_id", "left")
    rows = videos.mapInArrow(pool, "video_id string, tag_embedding array<float>, tag_count bigint")
    return _computed(run, rows, bool(len(space.tags)))


def _space(run: Run) -> TagVectors:
    """Tags and vectors, those of new tags among them."""
    from producers.tags.vectors import TagVectors
    from vidtopics.jobs.inputs import vectors

    rows = run.read(TAG_EMBEDDING, "tag", "tag_vector").sort_by("tag")
    return TagVectors(rows["tag"].combine_chunks(), vectors(rows["tag_vector"], _width(run)))


def _width(run: Run) -> int:
    return int(run.model.version.settings["tags"]["dimensions"])


def _computed(run: Run, rows: pa.Table | DataFrame, has_vectors: bool) -> Computed:
    left_out = [] if has_vectors else ["no tag has a vector: every tag embedding is zero"]
    return Computed(rows, widths={"tag_width": _width(run)}, left_out=left_out)


JOB = Job(
    VIDEO_TAG_EMBEDDING,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS, TAG_EMBEDDING),
    compute=compute,
    distribute=distribute,
    settings=lambda s: None,
    code=(
        "spark_jobs.video_tag_embedding",
        "vidtopics.jobs.frames",
        "vidtopics.jobs.inputs",
        "producers.tags.pooling",
        "producers.tags.vectors",
        "producers.unit_length",
    ),
    infers=True,
)

if __name__ == "__main__":
    main(JOB)
