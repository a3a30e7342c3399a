"""topic_queues: candidates of topics, parents and the catalogue, by click-through rate (III-B1)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from vidtopics.contracts import (
    CATALOGUE,
    PARENT,
    TOPIC,
    TOPIC_QUEUES,
    VIDEO_CATALOG,
    VIDEO_STATISTICS,
    VIDEO_TOPICS,
)
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.tables.schemas import arrow_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from vidtopics.rates import Prior

SCHEMA = (
    "queue_level string, topic_id bigint, video_id string, queue_position bigint, "
    "queue_ctr double, queue_exposures bigint, queue_clicks float, fresh boolean, "
    "topic_epoch bigint"
)
COUNTS = ("video_exposures", "video_clicks", "decayed_clicks")
VIDEO = ("video_id", *COUNTS, "video_ctr", "young", "topic_epoch")


def compute(run: Run) -> Computed:
    """Rate the live videos and order one queue at a time."""
    from producers.queues.rules import queues
    from vidtopics.jobs.inputs import live_videos
    from vidtopics.jobs.queue_videos import queue_videos

    videos, prior = queue_videos(
        live_videos(run, "published_at"),
        run.read(VIDEO_TOPICS, "video_id", "topic_ids", "parent_topic_ids", "topic_epoch"),
        run.read(VIDEO_STATISTICS),
        run.settings.queues,
        run.settings.statistics,
        as_of_us=run.as_of_us,
    )
    schema = arrow_schema(TOPIC_QUEUES, TOPIC_QUEUES.columns)
    parts = queues(videos, run.settings.queues, run.settings.seed)
    rows = pa.concat_tables([schema.empty_table(), *(part.cast(schema) for part in parts)])
    return Computed(rows, facts=_facts(prior))


def distribute(run: Run) -> Computed:
    """The same on executors."""
    from pyspark.sql import functions as F

    from producers.queues.rules import queue
    from vidtopics.jobs.frames import live_videos, statistics_prior
    from vidtopics.jobs.queue_videos import decayed_clicks
    from vidtopics.rates import smoothed_ctr

    settings, seed = run.settings.queues, run.settings.seed

    def ordered(members: pa.Table) -> pa.Table:
        return queue(members, settings, seed)

    topics = run.frame(VIDEO_TOPICS, "video_id", "topic_ids", "parent_topic_ids", "topic_epoch")
    epoch = topics.agg(F.max("topic_epoch").alias("topic_epoch")).filter("topic_epoch IS NOT NULL")
    statistics = run.frame(VIDEO_STATISTICS).persist()
    prior = statistics_prior(statistics, run.settings.statistics)
    youngest = run.as_of_us - settings.fresh_age // timedelta(microseconds=1)
    rate = smoothed_ctr(F.col("video_clicks"), F.col("video_exposures"), prior)
    recent = F.expr(decayed_clicks(run.as_of_us, run.settings.statistics.half_life))
    counts = {name: F.coalesce(name, F.lit(0)) for name in COUNTS}
    videos = (
        live_videos(run, "published_at")
        .select("video_id", (F.unix_micros("published_at") > youngest).alias("young"))
        .crossJoin(F.broadcast(epoch))  # queues never mix epochs
        .join(topics, ["video_id", "topic_epoch"], "left")
        .join(statistics.withColumn("decayed_clicks", recent), "video_id", "left")
        .withColumns({**counts, "young": F.coalesce("young", F.lit(False))})
        .withColumn("video_ctr", rate)
    )
    rows = _members(videos).groupBy("queue_level", "topic_id").applyInArrow(ordered, SCHEMA)
    rows = rows.persist()
    close = lambda: (rows.unpersist(), statistics.unpersist())  # noqa: E731
    return Computed(rows, facts=_facts(prior), close=close)


def _members(videos: DataFrame) -> DataFrame:
    """A row for each queue that a video is in; -1 fills unused slots."""
    from pyspark.sql import functions as F

    slots = ((TOPIC, "topic_ids"), (PARENT, "parent_topic_ids"), (CATALOGUE, "catalogue"))
    videos = videos.withColumn("catalogue", F.array(F.lit(0).cast("bigint")))
    parts = [
        videos.select(
            F.lit(level).alias("queue_level"),
            F.explode(F.array_distinct(name)).alias("topic_id"),
            *VIDEO,
        ).filter("topic_id >= 0")
        for level, name in slots
    ]
    return parts[0].unionByName(parts[1]).unionByName(parts[2])


def _facts(prior: Prior) -> dict[str, float]:
    return {"global_ctr": prior.global_ctr, "prior_exposures": prior.exposures}


JOB = Job(
    TOPIC_QUEUES,
    inputs=(VIDEO_CATALOG, VIDEO_TOPICS, VIDEO_STATISTICS),
    compute=compute,
    distribute=distribute,
    settings=lambda s: (s.queues.model_dump(mode="json", exclude={"refresh"}), s.statistics),
    code=(
        "spark_jobs.topic_queues",
        "vidtopics.jobs.frames",
        "vidtopics.jobs.inputs",
        "vidtopics.jobs.queue_videos",
        "producers.queues",
        "vidtopics.rates",
    ),
    empty="no video has a topic",
)

if __name__ == "__main__":
    main(JOB)
