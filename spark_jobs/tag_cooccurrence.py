"""tag_cooccurrence: videos that carry both of two tags, and that edge's probability (Eq. 3)."""

from __future__ import annotations

from vidtopics.contracts import TAG_COOCCURRENCE, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.jobs.job import Computed, Job, Run, main


def compute(run: Run) -> Computed:
    """Count pairs of tags per video.

    Pairs grow with the square: a video with very many tags gives its most frequent ones.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from vidtopics.jobs.frames import tags_of_live_videos

    settings = run.settings.tags
    tags = tags_of_live_videos(run)
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
    settings=lambda s: (s.tags.min_videos, s.tags.max_tags_per_video),
    code=("spark_jobs.tag_cooccurrence", "vidtopics.jobs.frames"),
    empty="no live video has two tags that tags.min_videos live videos carry",
)

if __name__ == "__main__":
    main(JOB)
