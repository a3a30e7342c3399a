"""What was learned from many people, and how that ends: no single person can be taken out of it."""

from __future__ import annotations

from typing import Any

from vidtopics.contracts import VIDEO_COUNTS, VIDEO_STATISTICS
from vidtopics.tables import Tables


def derived(tables: Tables, counts: str) -> list[dict[str, Any]]:
    """Models and statistics of the home: what, when it was made, and what makes it anew.

    `made_us`: microseconds since 1970.
    """
    rankers = [
        {
            "what": f"models/{file.parent.name}: weights of a ranking model",
            "made_us": file.stat().st_mtime_ns // 1000,
            "ends_with": "vidtopics train ranking",
        }
        for file in sorted((tables.home / "models").glob("ranking*/*.json"))
    ]
    ends = (
        "the next `vidtopics run` counts without them; earlier rows stay, as they were known then"
        if counts == "remove"
        else "kept: sums over all users (erasure.counts)"
    )
    statistics = [
        {
            "what": f"table {table.name}: exposures and clicks of videos",
            "made_us": commit.created_us,
            "ends_with": ends,
        }
        for table in (VIDEO_COUNTS, VIDEO_STATISTICS)
        if (commit := tables.commits(table).last())
    ]
    return [*rankers, *statistics]
