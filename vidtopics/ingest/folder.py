"""The folder format: `videos`, `impressions` and optionally `tags`, each as `.csv` or `.parquet`.

Their columns are in `videos.COLUMNS`, `log.COLUMNS` and `tags.COLUMNS`; covers are paths below the
folder.
"""

from __future__ import annotations

from pathlib import Path

from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.ingest import log, tags, videos
from vidtopics.ingest.source import find, find_optional
from vidtopics.ingest.workspace import Workspace

# A video without a time is as old as the log, but no younger than its own removal.
PUBLISHED = """coalesce(published_at_time, known_published_at,
    least(coalesce(log_start, delivered_at()), removed_at_time))"""


def load(work: Workspace, folder: Path) -> None:
    """Creates relations `videos`, `impressions` and `tags` from a delivery in the folder format."""
    work.load("videos", find(folder, "videos"), videos.COLUMNS, VIDEO_CATALOG)
    work.load("impressions", find(folder, "impressions"), log.COLUMNS, IMPRESSIONS)
    if path := find_optional(folder, "tags"):
        work.load("tags", path, tags.COLUMNS, VIDEO_TAGS)
    else:
        columns = ", ".join(f"{name} VARCHAR" for name in tags.COLUMNS.names)
        work.sql.execute(f"CREATE TABLE tags (file VARCHAR, row BIGINT, {columns})")
    work.sql.execute("CREATE VIEW video_rows AS SELECT file, row, video_id FROM videos")
