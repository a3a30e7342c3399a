"""Places instead of ids: topics by rising id, videos by their first topic and from its centre out.

Videos of one topic lie beside each other, so that a few parts hold what a topic's page shows.

| relation | columns |
|---|---|
| `topic` | t: place, topic_id, and the columns of the table |
| `video` | v: place, part, t and w of the first topic (t = K without one), source, counts |
| `member` | v, t, w, slot: every topic of every video; w in ten-thousandths |
| `shelf` | t, start: first place, videos, first_part |
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vidtopics.contracts import (
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_STATISTICS,
    VIDEO_TAGS,
    VIDEO_TOPICS,
)
from vidtopics.errors import TableError, explain
from vidtopics.explore.released import Workspace

SCALE = 10_000
"""Weights, rates and coordinates are sent as ten-thousandths."""
PART = 256
"""Videos of a part, at most; a part holds videos of one topic."""
_MEMBERS = f"""
CREATE TABLE slot AS
  SELECT video_id, t, CAST(round(weight * {SCALE}) AS INTEGER) AS w, slot FROM (
    SELECT video_id, unnest(topic_ids) AS topic_id, unnest(topic_weights) AS weight,
      generate_subscripts(topic_ids, 1) AS slot FROM assigned)
  JOIN topic USING (topic_id);
CREATE TABLE place AS
  SELECT row_number() OVER (ORDER BY t, w DESC, video_id) - 1 AS v, video_id, t, w FROM (
    SELECT video_id, coalesce(t, $topics) AS t, coalesce(w, 0) AS w FROM catalog
    LEFT JOIN (SELECT video_id, arg_min(t, slot) AS t, arg_min(w, slot) AS w
               FROM slot GROUP BY video_id) USING (video_id)
    WHERE removed_at IS NULL OR epoch_us(removed_at) > $as_of_us);
CREATE TABLE member AS
  SELECT v, slot.t, slot.w, slot FROM slot JOIN place USING (video_id) ORDER BY v, slot;
DROP TABLE slot;
CREATE TABLE shelf AS
  WITH counted AS (
    SELECT t, count(v) AS videos FROM range($topics + 1) topics(t) LEFT JOIN place USING (t)
    GROUP BY t)
  SELECT t, videos, CAST(coalesce(sum(videos) OVER earlier, 0) AS BIGINT) AS start,
    CAST(coalesce(sum((videos + {PART - 1}) // {PART}) OVER earlier, 0) AS BIGINT) AS first_part
  FROM counted
  WINDOW earlier AS (ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
"""

_VIDEOS = f"""
CREATE TABLE video AS
  SELECT v, first_part + (v - start) // {PART} AS part, place.t, w, video_id, title, cover,
    primary_classes, secondary_classes, published_at, content_hash,
    coalesce(below_threshold, false) AS below,
    video_exposures AS exposures, video_clicks AS clicks, coalesce(tags, []) AS tags
  FROM place JOIN shelf USING (t) JOIN catalog USING (video_id)
  LEFT JOIN assigned USING (video_id) LEFT JOIN counted USING (video_id)
  LEFT JOIN (SELECT video_id, list(spelling ORDER BY tag) AS tags FROM tagged GROUP BY video_id)
    USING (video_id)
  ORDER BY v;
DROP TABLE tagged
"""


def number_topics(work: Workspace) -> NDArray[np.float32]:
    """Create `topic`; the centroids, float32[K, width], by place.

    Raises:
        TableError: the release has no topics.
    """
    work.load("topic_rows", TOPICS, tuple(column.name for column in TOPICS.columns))
    work.execute(
        "CREATE TABLE topic AS SELECT row_number() OVER (ORDER BY topic_id) - 1 AS t, * "
        "FROM topic_rows WHERE retired IS NULL; DROP TABLE topic_rows"
    )
    centroids = work.columns("SELECT centroid FROM topic ORDER BY t")["centroid"].combine_chunks()
    if not len(centroids):
        raise TableError(
            explain(
                str(work.tables.path(TOPICS)),
                expected=f"topics in release {work.release.release_id}",
                found="none",
                mend="run `vidtopics ingest` and `vidtopics run`",
            )
        )
    work.execute("ALTER TABLE topic DROP COLUMN centroid")
    flat: NDArray[np.float32] = centroids.flatten().to_numpy().astype(np.float32, copy=False)
    return flat.reshape(len(centroids), -1)


def number_videos(work: Workspace) -> None:
    """Create `member`, `shelf` and `video`: the catalogue's videos that are not taken down."""
    catalog = tuple(column.name for column in VIDEO_CATALOG.columns)
    assigned = tuple(column.name for column in VIDEO_TOPICS.columns)
    work.load("catalog", VIDEO_CATALOG, catalog)
    work.load("assigned", VIDEO_TOPICS, assigned)
    work.load("counted", VIDEO_STATISTICS, ("video_id", "video_exposures", "video_clicks"))
    work.load("tagged", VIDEO_TAGS, ("video_id", "tag", "spelling"))
    topics = work.number("SELECT count(*) FROM topic")
    for statement in _MEMBERS.split(";"):
        parameters = {"topics": topics, "as_of_us": work.release.as_of_us}
        used = {name: value for name, value in parameters.items() if f"${name}" in statement}
        work.con.execute(statement, used)
    work.execute(_VIDEOS)


def shelves(work: Workspace) -> pa.Table:
    """start, videos and first_part of every topic by place, then of the videos without one."""
    return work.columns("SELECT start, videos, first_part FROM shelf ORDER BY t")
