"""What the page holds itself: every topic as columns, and where the parts of each begin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidtopics.explore.geometry import plane, similar
from vidtopics.explore.numbering import SCALE, shelves
from vidtopics.explore.released import Workspace
from vidtopics.rates import Prior
from vidtopics.times import moment

NEIGHBOURS = 8
TERMS = 6
"""Label terms of a topic that the page has."""

# Ties of a topic's main class go by name.
_CLASSES = """
CREATE TABLE topic_class AS
  WITH counted AS (
    SELECT t, class, count(*) AS videos FROM (
      SELECT member.t, unnest(primary_classes) AS class FROM member JOIN video USING (v))
    GROUP BY t, class),
  totals AS (SELECT t, count(*) AS videos FROM member GROUP BY t)
  SELECT t, class, counted.videos / totals.videos AS share
  FROM counted JOIN totals USING (t)
  QUALIFY row_number() OVER (PARTITION BY t ORDER BY counted.videos DESC, class) = 1"""

_PARENTS = """
SELECT parent_topic_id AS parent, any_value(parent_label_terms)[:2] AS terms FROM topic
WHERE parent_topic_id IS NOT NULL GROUP BY parent_topic_id ORDER BY parent_topic_id"""

_TOPICS = f"""
WITH carried AS (
  SELECT member.t, count(*) AS videos, CAST(coalesce(sum(exposures), 0) AS BIGINT) AS exposures,
    CAST(coalesce(sum(clicks), 0) AS BIGINT) AS clicks
  FROM member JOIN video USING (v) GROUP BY member.t),
nearest AS (
  SELECT t, count(*) AS nearest, CAST(sum(w) // count(*) AS BIGINT) AS closeness,
    count(*) FILTER (below) AS below
  FROM video GROUP BY t)
SELECT topic_id AS id, label_terms[:{TERMS}] AS terms, coalesce(videos, 0) AS videos,
  coalesce(exposures, 0) AS exposures, coalesce(clicks, 0) AS clicks,
  coalesce(nearest, 0) AS nearest, closeness, coalesce(below, 0) AS below,
  strftime(born, '%Y-%m-%d') AS born, class, CAST(round(share * {SCALE}) AS INTEGER) AS class_share,
  coalesce(split_from, 0) AS split_from, parent_topic_id AS parent
FROM topic LEFT JOIN carried USING (t) LEFT JOIN nearest USING (t) LEFT JOIN topic_class USING (t)
ORDER BY topic.t"""


def classify_topics(work: Workspace) -> None:
    """Create `topic_class`: each topic's main class and the share of its videos that have it."""
    work.execute(_CLASSES)


def groups(work: Workspace) -> dict[str, list[str]] | None:
    """First label terms of each parent, by its id; None where no topic has a parent."""
    return {str(row["parent"]): row["terms"] or [] for row in work.rows(_PARENTS)} or None


def topic_columns(work: Workspace, centroids: NDArray[np.float32]) -> dict[str, list[Any]]:
    """One column per field, by place of the topic."""
    columns: dict[str, list[Any]] = work.columns(_TOPICS).to_pydict()
    neighbours, cosines = similar(centroids, NEIGHBOURS)
    return columns | {
        "xy": (plane(centroids) * SCALE).round().astype(int).tolist(),
        "similar": neighbours.tolist(),
        "cosine": (cosines * SCALE).round().astype(int).tolist(),
    }


def release_figures(work: Workspace, prior_exposures: float) -> dict[str, Any]:
    """The release, its totals, and the prior that rates of videos are drawn to."""
    release = work.release
    clicks, exposures = (
        work.number(f"SELECT sum(video_{name}) FROM counted") for name in ("clicks", "exposures")
    )
    prior = Prior.of_totals(clicks, exposures, exposures=prior_exposures)
    mean = work.columns("SELECT avg(topic_count) AS mean FROM assigned")["mean"][0].as_py()
    return {
        "id": release.release_id,
        "as_of": moment(release.as_of_us),
        "epoch": release.topic_epoch,
        "mean_topics": round(mean or 0, 4),
        "videos": work.number("SELECT count(*) FROM video"),
        "below": work.number("SELECT count(*) FROM video WHERE below"),
        "prior": [prior.global_ctr, prior.exposures],
    }


def shelf_columns(work: Workspace) -> dict[str, list[int]]:
    """First place, videos and first part of each topic, then of the videos without one."""
    columns: dict[str, list[int]] = shelves(work).to_pydict()
    return columns
