"""user_topic_counts: exposures, clicks and expected clicks of each user in every topic met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spark_jobs.video_counts import JOB as COUNTING
from vidtopics.contracts import (
    CLICKS,
    EVENT_TIME,
    IMPRESSIONS,
    USER_TOPIC_COUNTS,
    VIDEO_TOPICS,
)
from vidtopics.jobs.decayed_sums import name_last_events
from vidtopics.jobs.increments import Plan, plan
from vidtopics.jobs.job import Run, main
from vidtopics.jobs.sql import Engine
from vidtopics.jobs.user_events import (
    job_of_events,
    name_expected,
    name_new_events,
)
from vidtopics.rates import halved

EPOCH = "topic_epoch"
SHARES = """
SELECT video_id, topic_id, CASE WHEN SUM(weight) OVER (PARTITION BY video_id) > 0
  THEN weight / SUM(weight) OVER (PARTITION BY video_id)
  ELSE CAST(1 AS DOUBLE) / COUNT(*) OVER (PARTITION BY video_id) END AS share
FROM (SELECT video_id, topic_id, GREATEST(CAST(weight AS DOUBLE), CAST(0 AS DOUBLE)) AS weight
  FROM {slots} WHERE topic_id >= 0) used  -- -1 fills unused slots
"""
EVENTS = f"""
SELECT e.user_id, s.topic_id, e.us, s.share AS shown, CAST(0 AS DOUBLE) AS clicked,
  s.share * e.expected AS expected FROM {{expected}} e JOIN {{shares}} s ON e.video_id = s.video_id
UNION ALL
SELECT c.user_id, s.topic_id, unix_micros(c.{EVENT_TIME}) AS us, CAST(0 AS DOUBLE) AS shown,
  s.share AS clicked, CAST(0 AS DOUBLE) AS expected
FROM {{new_clicks}} c JOIN {{shares}} s ON c.video_id = s.video_id
"""
LISTS = {
    "topic_id": "met_topic_ids",
    "shown": "met_exposures",
    "clicked": "met_clicks",
    "expected": "met_expected",
    "decayed": "met_decayed",
}


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """Add the new events of each user who has any, by the topics that videos have as of the run."""
    engine.now("topics", VIDEO_TOPICS)
    epoch = int(engine.value("SELECT COALESCE(MAX(topic_epoch), 0) FROM {topics}"))
    chosen = _within_epoch(plan(run, JOB, IMPRESSIONS, CLICKS), epoch)
    name_new_events(engine, chosen)
    engine.base("base", USER_TOPIC_COUNTS, chosen, of="SELECT user_id FROM {changed}")
    name_expected(run, engine, chosen, plan(run, COUNTING, IMPRESSIONS, CLICKS))
    engine.view("in_epoch", f"SELECT * FROM {{topics}} WHERE topic_epoch = {epoch}")
    lists = {"topic_id": "topic_ids", "weight": "topic_weights"}
    engine.view("slots", engine.as_rows("in_epoch", "video_id", lists))
    engine.view("shares", SHARES, reused=True)
    engine.view("events", EVENTS)
    name_last_events(engine, "user_id", "met_decayed_at")
    engine.view("base_rows", engine.as_rows("base", "user_id, met_decayed_at", LISTS))
    half_life = run.settings.users.half_life
    engine.view(
        "sums",
        f"""
        SELECT user_id, topic_id, topic_id AS place, SUM(shown) AS shown, SUM(clicked) AS clicked,
          SUM(expected) AS expected, SUM(decayed) AS decayed, MAX(last_us) AS last_us
        FROM (
          SELECT e.user_id, topic_id, shown, clicked, expected,
            shown * {halved("us", "last_us", half_life)} AS decayed, last_us
          FROM {{events}} e JOIN {{last_events}} l ON e.user_id = l.user_id
          UNION ALL
          SELECT b.user_id, topic_id, shown, clicked, expected,
            decayed * {halved("met_decayed_at", "last_us", half_life)} AS decayed, last_us
          FROM {{base_rows}} b JOIN {{last_events}} l ON b.user_id = l.user_id) parts
        GROUP BY user_id, topic_id
        """,
    )
    listed = ", ".join(
        f"{engine.in_order(column, 'BIGINT' if column == 'topic_id' else 'FLOAT')} AS {name}"
        for column, name in LISTS.items()
    )
    rows = f"""
    SELECT user_id, {listed}, MAX(last_us) AS met_decayed_at, CAST({epoch} AS BIGINT) AS met_epoch
    FROM {{sums}} GROUP BY user_id
    UNION ALL SELECT b.* FROM {{base}} b LEFT JOIN {{last_events}} l ON b.user_id = l.user_id
    WHERE l.user_id IS NULL
    """
    return rows, {**chosen.facts, EPOCH: epoch}


def _within_epoch(chosen: Plan, epoch: int) -> Plan:
    """The plan, without the earlier run where its topics are of another epoch."""
    if chosen.base is None or chosen.base.facts.get(EPOCH) == epoch:
        return chosen
    return replace(chosen, base=None, base_seen=None, counted="everything: a new topic epoch")


JOB = job_of_events(
    USER_TOPIC_COUNTS, build, VIDEO_TOPICS, empty="no impression of a video that has a topic"
)

if __name__ == "__main__":
    main(JOB)
