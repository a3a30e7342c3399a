"""user_topics: the topics and parent topics that each user met most of late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import pyarrow.dataset as ds

from vidtopics.contracts import TOPICS, USER_TOPIC_COUNTS, USER_TOPICS
from vidtopics.jobs.checks import require_live_videos
from vidtopics.jobs.increments import connect
from vidtopics.jobs.job import Computed, Job, Run, main
from vidtopics.jobs.reuse import LastResult
from vidtopics.jobs.sql import DuckEngine, Engine, on_spark
from vidtopics.settings import digest

MET = {
    "topic_id": "met_topic_ids",
    "shown": "met_exposures",
    "clicked": "met_clicks",
    "expected": "met_expected",
    "decayed": "met_decayed",
}
COUNTS = {"shown": "exposures", "clicked": "clicks", "expected": "expected"}
PARENTS = """
SELECT user_id, parent_topic_id AS topic_id, SUM(shown) AS shown, SUM(clicked) AS clicked,
  SUM(expected) AS expected, SUM(decayed) AS decayed
FROM {met} JOIN {topics} USING (topic_id) WHERE parent_topic_id IS NOT NULL
GROUP BY user_id, parent_topic_id
"""
PLACE = "ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY decayed DESC, topic_id)"


def compute(run: Run) -> Computed:
    """The rows of users whose counts changed; the others' rows stay as they are."""
    last = LastResult.of(run, JOB, USER_TOPIC_COUNTS)
    changed = last.changed(USER_TOPIC_COUNTS)["user_id"].combine_chunks()
    where = None if last.base is None else ds.field("user_id").isin(changed)
    with connect(run) as con:
        engine = DuckEngine(run, con)
        engine.arrow("counts", run.read(USER_TOPIC_COUNTS, where=where))
        rows = engine.rows(_query(run, engine))
    return Computed(rows, reused=last.rows(without=changed))


def build(run: Run, engine: Engine) -> tuple[str, Mapping[str, float | str]]:
    """The rows of all users."""
    engine.now("counts", USER_TOPIC_COUNTS)
    return _query(run, engine), {}


def parents(run: Run) -> str:
    """Hash of each topic's parent: where one changed, so may every row."""
    rows = run.read(TOPICS, "topic_id", "parent_topic_id").sort_by("topic_id")
    return digest(rows.to_pydict())


def _query(run: Run, engine: Engine) -> str:
    """Of each user the topics, and the parents of all topics, by falling decayed exposures."""
    users = run.settings.users
    engine.now("topics", TOPICS)
    engine.view("met", engine.as_rows("counts", "user_id, met_epoch", MET), reused=True)
    engine.view("parents", PARENTS)
    ranked = f"""
    SELECT user_id, topic_id, shown, clicked, expected, met_epoch, {PLACE} AS topic_place,
      CAST(NULL AS BIGINT) AS parent_place FROM {{met}}
    UNION ALL
    SELECT user_id, topic_id, shown, clicked, expected, CAST(NULL AS BIGINT) AS met_epoch,
      CAST(NULL AS BIGINT) AS topic_place, {PLACE} AS parent_place FROM {{parents}}
    """
    engine.view("ranked", ranked)
    lists = ", ".join([*_lists(engine, "topic"), *_lists(engine, "parent")])
    return f"""
    SELECT user_id, {lists}, MAX(met_epoch) AS user_topic_epoch FROM {{ranked}}
    WHERE topic_place <= {users.topics} OR parent_place <= {users.parents} GROUP BY user_id
    """


def _lists(engine: Engine, kind: str) -> Iterator[str]:
    """SQL of the four lists of topics, or of parents."""
    place = f"{kind}_place"
    yield f"{engine.in_order('topic_id', 'BIGINT', place)} AS user_{kind}_ids"
    for column, name in COUNTS.items():
        yield f"{engine.in_order(column, 'FLOAT', place)} AS user_{kind}_{name}"


JOB = Job(
    USER_TOPICS,
    inputs=(TOPICS, USER_TOPIC_COUNTS),
    compute=compute,
    distribute=partial(on_spark, build=build),
    settings=lambda s: (s.users.topics, s.users.parents),
    weights=parents,  # in the skip key, and in what a last result is good for
    code=("spark_jobs.user_topics", "vidtopics.jobs.sql"),
    check=require_live_videos,
    empty="no user met a topic",
)

if __name__ == "__main__":
    main(JOB)
