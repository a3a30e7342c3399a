"""What an operator looks for: copies of one content, and videos that may be in the wrong topic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from vidtopics.explore.blocks import Pairs
from vidtopics.explore.released import Workspace

LISTED = 200
"""Entries of a list."""
CONSIDERED = 10 * LISTED
"""Pairs of near duplicates that are looked at: copies of one content are among them."""
COPIES = 12
"""Videos of one content that are listed."""

_DUPLICATES = f"""
SELECT list(v ORDER BY coalesce(exposures, 0) DESC, v)[:{COPIES}] AS places, count(*) AS videos,
  count(DISTINCT t) AS topics
FROM video WHERE title <> '' OR cover <> ''
GROUP BY content_hash HAVING count(*) > 1"""

# A topic has a main class where at least half of its videos have that class.
_MISPLACED = """
FROM video JOIN topic_class USING (t)
WHERE share >= 0.5 AND len(primary_classes) > 0 AND NOT list_contains(primary_classes, class)"""


def duplicates(work: Workspace, alike: Pairs | None) -> str:
    """JSON of the contents (cover and title) that several videos have, most copies first.

    With them, pairs of videos whose content is nearly the same: cosine and two places; and the
    share of the exact neighbours that were looked at for them.
    """
    totals = work.rows(
        f"SELECT count(*) AS contents, coalesce(CAST(sum(videos) AS BIGINT), 0) AS videos, "
        f"count(*) FILTER (topics > 1) AS apart FROM ({_DUPLICATES})"
    )[0]
    groups = work.rows(
        f"SELECT * FROM ({_DUPLICATES}) "
        f"ORDER BY topics > 1 DESC, videos DESC, places LIMIT {LISTED}"
    )
    pairs = _of_two_contents(work, alike) if alike else []
    recall = alike.recall if alike else 1
    return _compact(totals | {"groups": groups, "alike": pairs, "recall": round(recall, 3)})


def _of_two_contents(work: Workspace, alike: Pairs) -> list[tuple[float, int, int]]:
    """The nearest pairs that aren't listed as copies already."""
    columns = (alike.cosines, alike.first, alike.second)
    cosines, first, second = (column[:CONSIDERED].tolist() for column in columns)
    places = ", ".join(str(place) for place in {*first, *second})
    sql = f"SELECT v, content_hash FROM video WHERE v IN ({places or -1})"
    content = dict(work.con.execute(sql).fetchall())
    pairs = zip(cosines, first, second, strict=True)
    return [(round(c, 4), a, b) for c, a, b in pairs if content[a] != content[b]][:LISTED]


def misplaced(work: Workspace, disagreeing: Sequence[tuple[int, int]]) -> str:
    """JSON of the videos whose class isn't their topic's, and of those far from every centre.

    Both by falling exposures: what many users see comes first. With them, places of the videos
    whose blocks disagree most (:mod:`.blocks`).
    """
    order = f"ORDER BY coalesce(exposures, 0) DESC, v LIMIT {LISTED}"
    below = "FROM video WHERE below"
    return _compact(
        {
            "other_class": work.columns(f"SELECT v {_MISPLACED} {order}")["v"].to_pylist(),
            "other_class_count": work.number(f"SELECT count(*) {_MISPLACED}"),
            "below": work.columns(f"SELECT v {below} {order}")["v"].to_pylist(),
            "below_count": work.number(f"SELECT count(*) {below}"),
            "disagreeing": [place for _, place in disagreeing],
        }
    )


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
