"""What the parts of videos and of topics hold."""

from __future__ import annotations

from collections.abc import Sequence

from vidtopics.contracts import TOPIC_QUEUES
from vidtopics.explore.numbering import SCALE
from vidtopics.explore.parts import Members, Parts, write_parts
from vidtopics.explore.released import Workspace

CENTRAL = 240
"""Videos of a topic that its page lists from the centre out."""
QUEUED = 100
"""Places of a queue that a topic's page lists."""

_VIDEO_PARTS = """
WITH chosen AS (SELECT * FROM video WHERE part >= $first AND part < $last),
slots AS (
  SELECT v, flatten(list([t, w] ORDER BY slot)) AS topics FROM member
  WHERE v BETWEEN (SELECT min(v) FROM chosen) AND (SELECT max(v) FROM chosen) GROUP BY v)
SELECT part, CAST(to_json({
  'first': min(v),
  'id': list(video_id ORDER BY v),
  'title': list(title ORDER BY v),
  'topics': list(coalesce(topics, []) ORDER BY v),
  'below': list(CAST(below AS TINYINT) ORDER BY v),
  'exposures': list(exposures ORDER BY v),
  'clicks': list(clicks ORDER BY v),
  'published': list(strftime(published_at, '%Y-%m-%d') ORDER BY v),
  'primary': list(primary_classes ORDER BY v),
  'secondary': list(secondary_classes ORDER BY v),
  'tags': list(tags ORDER BY v)}) AS VARCHAR) AS text
FROM chosen LEFT JOIN slots USING (v) GROUP BY part"""

_LISTS = f"""
CREATE TABLE central AS
  SELECT t, v, w, rank FROM (
    SELECT *, row_number() OVER (PARTITION BY t ORDER BY w DESC, v) AS rank FROM member)
  WHERE rank <= {CENTRAL} ORDER BY t, rank;
CREATE TABLE queue AS
  SELECT topic.t AS t, v, queue_position AS position,
    CAST(round(queue_ctr * {SCALE}) AS INTEGER) AS ctr, queue_exposures AS exposures,
    CAST(fresh AS TINYINT) AS fresh
  FROM queue_rows JOIN topic USING (topic_id) JOIN place USING (video_id)
  WHERE queue_level = 'topic' ORDER BY t, position;
DROP TABLE queue_rows
"""

_TOPIC_PARTS = f"""
WITH centrals AS (
  SELECT t, list(v ORDER BY rank) AS places, list(w ORDER BY rank) AS weights FROM central
  WHERE t >= $first AND t < $last GROUP BY t),
queues AS (
  SELECT t, list([v, ctr, exposures, fresh] ORDER BY position)[:{QUEUED}] AS queue,
    count(*) AS queued
  FROM queue WHERE t >= $first AND t < $last GROUP BY t),
days AS (
  SELECT t, list(exposures ORDER BY day) AS exposures, list(clicks ORDER BY day) AS clicks
  FROM past WHERE t >= $first AND t < $last GROUP BY t)
SELECT t, CAST(to_json({{
  'central': coalesce(places, []),
  'weights': coalesce(weights, []),
  'queue': coalesce(queue, []),
  'queued': coalesce(queued, 0),
  'exposures': days.exposures,
  'clicks': days.clicks}}) AS VARCHAR) AS text
FROM topic JOIN days USING (t) LEFT JOIN centrals USING (t) LEFT JOIN queues USING (t)
WHERE t >= $first AND t < $last"""


def list_members(work: Workspace) -> bool:
    """Create `central` and `queue`; whether the release has queues."""
    has_queues = TOPIC_QUEUES.name in work.release.versions
    names = (
        "queue_level",
        "topic_id",
        "video_id",
        "queue_position",
        "queue_ctr",
        "queue_exposures",
        "fresh",
        "topic_epoch",
    )
    work.load("queue_rows", TOPIC_QUEUES, names)
    work.execute(_LISTS)
    return has_queues


def write_videos(work: Workspace, parts: Parts, further: Sequence[Members]) -> None:
    """Write the parts of videos, with further members of theirs."""
    count = work.number("SELECT max(part) + 1 FROM video")
    write_parts(work, parts, "videos", _VIDEO_PARTS, count, further)


def write_topics(work: Workspace, parts: Parts) -> None:
    """Write the part of each topic: most central videos, queue, exposures and clicks by day."""
    write_parts(work, parts, "topics", _TOPIC_PARTS, work.number("SELECT count(*) FROM topic"))
