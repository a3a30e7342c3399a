"""topic_queues: each topic's candidates, by click-through rate with some fresh videos (III-B1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from vidtopics.contracts import TOPIC_QUEUES, VIDEO_CATALOG, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.tables.schemas import arrow_schema

if TYPE_CHECKING:
    from vidtopics.rates import Prior

SCHEMA = (
    "topic_id bigint, video_id string, queue_position bigint, queue_ctr double, "
    "queue_exposures bigint, fresh boolean, topic_epoch bigint"
)


OF_TOPIC = """
SELECT slots.topic_id, slots.video_id, rated.video_exposures, rated.video_ctr, slots.topic_epoch
FROM (SELECT video_id, topic_epoch, unnest(topic_ids) AS topic_id FROM topics
  WHERE topic_epoch = (SELECT max(topic_epoch) FROM topics)) slots  -- queues never mix epochs
JOIN live USING (video_id) JOIN rated USING (video_id)
WHERE slots.topic_id >= 0 ORDER BY slots.topic_id, slots.video_id  -- -1 fills unused slots
"""


def compute(run: Run) -> Computed:
    """Group the live videos by each of their topics, and order one topic at a time.

    The prior of the rates is that of all videos with statistics: equal counts make equal queues.
    """
    from producers.queues.rules import topic_queue
    from vidtopics.jobs.inputs import live_videos
    from vidtopics.rates import Prior, smoothed_ctr

    statistics = run.read(VIDEO_STATISTICS)
    clicks, exposures = (
        statistics[name].to_numpy() for name in ("video_clicks", "video_exposures")
    )
    weight = run.settings.statistics.prior_exposures
    prior = Prior.of_totals(int(clicks.sum()), int(exposures.sum()), exposures=weight)
    rated = statistics.append_column("video_ctr", pa.array(smoothed_ctr(clicks, exposures, prior)))
    with duckdb.connect() as con:
        con.register("topics", run.read(VIDEO_TOPICS, "video_id", "topic_ids", "topic_epoch"))
        con.register("live", live_videos(run))
        con.register("rated", rated)
        of_topic = con.sql(OF_TOPIC).to_arrow_table().combine_chunks()
    starts = np.flatnonzero(np.diff(of_topic["topic_id"].to_numpy(), prepend=-1))
    ends = [*starts[1:], len(of_topic)]
    queues = [
        topic_queue(of_topic.slice(start, end - start), run.settings.queues, run.settings.seed)
        for start, end in zip(starts, ends, strict=True)
    ]
    schema = arrow_schema(TOPIC_QUEUES, TOPIC_QUEUES.columns)
    rows = pa.concat_tables([schema.empty_table(), *(queue.cast(schema) for queue in queues)])
    return Computed(rows, facts=_facts(prior))


def distribute(run: Run) -> Computed:
    """The same on executors."""
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
    close = lambda: (rows.unpersist(), statistics.unpersist())  # noqa: E731
    return Computed(rows, facts=_facts(prior), close=close)


def _facts(prior: Prior) -> dict[str, float]:
    return {"global_ctr": prior.global_ctr, "prior_exposures": prior.exposures}


JOB = Job(
    TOPIC_QUEUES,
    inputs=(VIDEO_CATALOG, VIDEO_TOPICS, VIDEO_STATISTICS),
    compute=compute,
    distribute=distribute,
    settings=lambda s: (s.queues, s.statistics),
    code=(
        "spark_jobs.topic_queues",
        "vidtopics.jobs.frames",
        "vidtopics.jobs.inputs",
        "producers.queues",
        "vidtopics.rates",
    ),
    empty="no video with a topic reaches queues.min_exposures and queues.min_ctr, or is fresh",
)

if __name__ == "__main__":
    main(JOB)
