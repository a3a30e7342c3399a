"""tag_cooccurrence: videos that carry both of two tags, and that edge's probability (Eq. 3)."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as ds

from vidtopics.contracts import TAG_COOCCURRENCE, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.increments import connect
from vidtopics.jobs.job import Computed, Job, Run, main

COUNT = """
WITH counted AS (
  SELECT video_id, tag, COUNT(*) OVER (PARTITION BY tag) AS videos FROM tags
), placed AS (
  SELECT video_id, tag, ROW_NUMBER() OVER (
    PARTITION BY video_id ORDER BY videos DESC, tag) AS place
  FROM counted WHERE videos >= $min_videos
), chosen AS (SELECT video_id, tag FROM placed WHERE place <= $max_tags),
edges AS (
  SELECT a.tag AS tag_a, b.tag AS tag_b, COUNT(*) AS videos
  FROM chosen a JOIN chosen b ON a.video_id = b.video_id AND a.tag < b.tag GROUP BY ALL
)
SELECT *, videos / CAST(SUM(videos) OVER () AS DOUBLE) AS probability FROM edges
"""


def compute(run: Run) -> Computed:
    """Count pairs of tags per video that trains: held-out videos stay out of the graph.

    Pairs grow with the square: a video with very many tags gives its most frequent ones.
    """
    from vidtopics.jobs.inputs import training_videos

    settings = run.settings.tags
    that_train = ds.field("video_id").isin(training_videos(run))
    limits = {"min_videos": settings.min_videos, "max_tags": settings.max_tags_per_video}
    with connect(run) as con:
        con.register("tags", run.read(VIDEO_TAGS, "video_id", "tag", where=that_train))
        return Computed(con.sql(COUNT, params=limits).to_arrow_table())


def distribute(run: Run) -> Computed:
    """The same on executors."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from vidtopics.jobs.frames import tags_of_live_videos
    from vidtopics.jobs.inputs import training_videos

    settings = run.settings.tags
    that_train = run.spark.createDataFrame(pa.table({"video_id": training_videos(run)}))
    tags = tags_of_live_videos(run).join(that_train, "video_id")
    counted = tags.join(
        tags.groupBy("tag").count().filter(F.col("count") >= settings.min_videos), "tag"
    )
    place = F.row_number().over(Window.partitionBy("video_id").orderBy(F.desc("count"), "tag"))
    most_frequent = counted.withColumn("place", place).filter(
        F.col("place") <= settings.max_tags_per_video
    )
    a, b = (most_frequent.select("video_id", F.col("tag").alias(f"tag_{side}")) for side in "ab")
    edges = (
        a.join(b, "video_id")
        .filter("tag_a < tag_b")
        .groupBy("tag_a", "tag_b")
        .agg(F.count("*").alias("videos"))
    )
    total = edges.agg(F.sum("videos").alias("total"))
    rows = (
        edges.crossJoin(F.broadcast(total))
        .select("*", (F.col("videos") / F.col("total")).alias("probability"))
        .persist()  # asked whether it is empty, then published
    )
    return Computed(rows, close=rows.unpersist)


JOB = Job(
    TAG_COOCCURRENCE,
    inputs=(VIDEO_CATALOG, VIDEO_TAGS),
    compute=compute,
    distribute=distribute,
    settings=lambda s: (s.tags.min_videos, s.tags.max_tags_per_video, s.content.holdout_share),
    code=(
        "spark_jobs.tag_cooccurrence",
        "vidtopics.jobs.frames",
        "vidtopics.jobs.inputs",
        "producers.content.dataset",
    ),
    empty="no video that trains has two tags that tags.min_videos of them carry",
)

if __name__ == "__main__":
    main(JOB)
