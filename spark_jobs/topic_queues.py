"""topic_queues: each topic's candidates, by click-through rate with some fresh videos (III-B1)."""

from __future__ import annotations

from vidtopics.contracts import TOPIC_QUEUES, VIDEO_CATALOG, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.jobs.job import Computed, Job, Run, main

SCHEMA = (
    "topic_id bigint, video_id string, queue_position bigint, queue_ctr double, "
    "queue_exposures bigint, fresh boolean, topic_epoch bigint"
)


def compute(run: Run) -> Computed:
    """Group the live videos by each of their topics; the executors order one topic at a time.

    The prior of the rates is that of all videos with statistics: equal counts make equal queues.
    """
    import pyarrow as pa
    from pyspark.sql import functions as F

    from producers.queues.rules import topic_queue
    from vidtopics.jobs.frames import live_videos, statistics_prior
    from vidtopics.rates import smoothed_ctr

    settings, seed = run.settings.queues, run.settings.seed

    def queue(topic: pa.Table) -> pa.Table:
        return topic_queue(topic, settings, seed)

    topics = run.frame(VIDEO_TOPICS)
    epoch = topics.agg(F.max("topic_epoch").alias("topic_epoch"))  # queues never mix epochs
    slots = topics.join(F.broadcast(epoch), "topic_epoch").select(
        "video_id", "topic_epoch", F.explode("topic_ids").alias("topic_id")
    )
    statistics = run.frame(VIDEO_STATISTICS).persist()
    prior = statistics_prior(statistics, run.settings.statistics)
    rated = statistics.withColumn(
        "video_ctr", smoothed_ctr(F.col("video_clicks"), F.col("video_exposures"), prior)
    )
    of_topic = (
        slots.filter("topic_id >= 0")  # -1 fills unused slots
        .join(live_videos(run).select("video_id"), "video_id")
        .join(rated, "video_id")
        .select("topic_id", "video_id", "video_exposures", "video_ctr", "topic_epoch")
    )
    rows = of_topic.groupBy("topic_id").applyInArrow(queue, SCHEMA).persist()
    facts = {"global_ctr": prior.global_ctr, "prior_exposures": prior.exposures}
    return Computed(rows, facts=facts, close=lambda: (rows.unpersist(), statistics.unpersist()))


JOB = Job(
    TOPIC_QUEUES,
    inputs=(VIDEO_CATALOG, VIDEO_TOPICS, VIDEO_STATISTICS),
    compute=compute,
    settings=lambda s: (s.queues, s.statistics),
    code=(
        "spark_jobs.topic_queues",
        "vidtopics.jobs.frames",
        "producers.queues",
        "vidtopics.rates",
    ),
    empty="no video with a topic reaches queues.min_exposures and queues.min_ctr, or is fresh",
)

if __name__ == "__main__":
    main(JOB)
