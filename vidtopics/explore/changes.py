"""What changed since the day before: sizes and rates by day, topics, and where videos moved.

Moves are those of a video's first topic. All of it is taken from the tables as two releases name
them; a release whose files are gone has no figures.
"""

from __future__ import annotations

import json
from typing import Any

from vidtopics.contracts import TOPICS, VIDEO_STATISTICS, VIDEO_TOPICS
from vidtopics.errors import TableError
from vidtopics.explore.released import Workspace
from vidtopics.times import moment

MOVES = 40
"""Pairs of topics that are listed, and examples of each below."""
EXAMPLES = 6
ARRIVALS = 60

_DAY = """
INSERT INTO past
SELECT $day, t, coalesce(videos, 0), exposures, clicks FROM topic
LEFT JOIN (SELECT topic_id, count(*) AS videos
           FROM (SELECT unnest(topic_ids) AS topic_id FROM past_assigned) GROUP BY topic_id)
  USING (topic_id)
LEFT JOIN (SELECT member.t, CAST(sum(video_exposures) AS BIGINT) AS exposures,
             CAST(sum(video_clicks) AS BIGINT) AS clicks
           FROM member JOIN place USING (v) JOIN past_counted USING (video_id) GROUP BY member.t)
  USING (t)"""

_COMPARED = """
CREATE TABLE compared AS
  SELECT place.v, place.video_id IS NOT NULL AS is_here, old.video_id IS NOT NULL AS was_here,
    old.topic_count > 0 AND new.topic_count > 0 AS has_both,
    old.topic_ids[1] AS old_first, new.topic_ids[1] AS new_first,
    list_sort(old.topic_ids[:old.topic_count]) = list_sort(new.topic_ids[:new.topic_count])
      AS is_same_set
  FROM place LEFT JOIN assigned new USING (video_id) FULL JOIN before old USING (video_id);
CREATE TABLE move AS
  SELECT old_first, new_first, v, count(*) OVER pair AS videos,
    row_number() OVER (
      PARTITION BY old_first, new_first ORDER BY coalesce(exposures, 0) DESC, v) AS example
  FROM compared JOIN video USING (v) WHERE has_both AND old_first <> new_first
  WINDOW pair AS (PARTITION BY old_first, new_first)"""


def history(work: Workspace) -> dict[str, Any]:
    """Sizes by day of every topic, and the days; exposures and clicks are written by `past`.

    Exposures and clicks of a day are those of today's videos up to then, so that their differences
    are what happened in between.
    """
    work.execute(
        "CREATE TABLE past (day INTEGER, t BIGINT, videos BIGINT, exposures BIGINT, clicks BIGINT)"
    )
    days: list[dict[str, Any]] = []
    for number, release in enumerate(work.history):
        try:
            work.load("past_assigned", VIDEO_TOPICS, ("video_id", "topic_ids"), release=release)
            names = ("video_id", "video_exposures", "video_clicks")
            work.load("past_counted", VIDEO_STATISTICS, names, release=release)
        except TableError:  # its files are gone: the page says that it has no figures of this day
            days.append({"release": release.release_id, "as_of": None})
            continue
        work.execute(_DAY, {"day": number})
        days.append({"release": release.release_id, "as_of": moment(release.as_of_us)})
    work.execute("DROP TABLE IF EXISTS past_assigned; DROP TABLE IF EXISTS past_counted")
    sizes = "SELECT list(videos ORDER BY day) AS sizes FROM past GROUP BY t ORDER BY t"
    figured = [day for day in days if day["as_of"]]
    gone = [day["release"] for day in days if not day["as_of"]]
    return {"days": figured, "gone": gone, "sizes": work.columns(sizes)["sizes"].to_pylist()}


def changes(work: Workspace) -> str:
    """JSON of what changed since the release of the day before; `null` where there is none."""
    if len(work.history) == 1:
        return "null"
    before = work.history[-2]
    try:
        names = ("video_id", "topic_ids", "topic_count", "topic_epoch")
        work.load("before", VIDEO_TOPICS, names, release=before)
        topic_names = ("topic_id", "label_terms", "topic_epoch", "retired")
        work.load("topic_before", TOPICS, topic_names, release=before)
    except TableError:
        return "null"
    work.execute(_COMPARED)
    since = {"since": {"release": before.release_id, "as_of": moment(before.as_of_us)}}
    return json.dumps(
        since | _figures(work) | _topics(work) | {"moves": _moves(work)} | _arrivals(work),
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _figures(work: Workspace) -> dict[str, int]:
    sql = """
    SELECT count(*) FILTER (has_both) AS compared,
      count(*) FILTER (has_both AND old_first = new_first) AS same_first,
      count(*) FILTER (has_both AND is_same_set) AS same_set,
      count(*) FILTER (is_here AND NOT was_here) AS arrived,
      count(*) FILTER (NOT is_here) AS departed FROM compared"""
    return work.rows(sql)[0]


def _topics(work: Workspace) -> dict[str, list[Any]]:
    """Places of the topics that were born; retired ones with where their videos went."""
    born = """
    SELECT t FROM topic WHERE topic_id NOT IN (
      SELECT topic_id FROM topic_before WHERE retired IS NULL) ORDER BY t"""
    retired = """
    WITH gone AS (
      SELECT topic_id, label_terms FROM topic_before
      WHERE retired IS NULL AND topic_id NOT IN (SELECT topic_id FROM topic)),
    went AS (
      SELECT old_first AS topic_id, t, count(*) AS videos FROM compared
      JOIN topic ON topic.topic_id = new_first
      WHERE has_both AND old_first IN (SELECT topic_id FROM gone) GROUP BY 1, 2)
    SELECT topic_id AS id, label_terms AS terms,
      coalesce(list([t, videos] ORDER BY videos DESC, t) FILTER (t IS NOT NULL), [])[:5] AS went
    FROM gone LEFT JOIN went USING (topic_id) GROUP BY ALL ORDER BY topic_id"""
    return {
        "born": work.columns(born)["t"].to_pylist(),
        "retired": work.rows(retired),
    }


def _moves(work: Workspace) -> list[dict[str, Any]]:
    """From which topic (its id; it may be gone) to which (its place) videos moved, most first."""
    sql = f"""
    SELECT old_first AS "from", t AS "to", videos, list(v ORDER BY example) AS examples
    FROM move JOIN topic ON topic.topic_id = new_first WHERE example <= {EXAMPLES}
    GROUP BY ALL ORDER BY videos DESC, old_first, t LIMIT {MOVES}"""
    return work.rows(sql)


def _arrivals(work: Workspace) -> dict[str, list[Any]]:
    """New videos, most exposed first, and the topics that most of them went to."""
    new = "FROM compared JOIN video USING (v) WHERE is_here AND NOT was_here"
    videos = f"SELECT v {new} ORDER BY coalesce(exposures, 0) DESC, v LIMIT {ARRIVALS}"
    topics = f"""
    SELECT [t, count(*)] AS pair {new} AND t IN (SELECT t FROM topic)
    GROUP BY t ORDER BY count(*) DESC, t LIMIT 20"""
    return {
        "arrivals": work.columns(videos)["v"].to_pylist(),
        "arrivals_by_topic": work.columns(topics)["pair"].to_pylist(),
    }
