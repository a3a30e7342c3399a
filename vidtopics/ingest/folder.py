"""The folder format: `videos`, `impressions` and optionally `tags`, each as `.csv` or `.parquet`.

Their columns are in docs/tables.md, and other names for them in a `DeliveryMap`; covers are paths
below the folder.
"""

from __future__ import annotations

from vidtopics.contracts import IMPRESSIONS, VIDEO_CATALOG, VIDEO_TAGS
from vidtopics.ingest.source import Source, find, find_optional
from vidtopics.ingest.workspace import Workspace

# A video without a time is as old as the log, but no younger than its own removal.
PUBLISHED = """coalesce(published_at_time, known_published_at,
    least(coalesce(log_start, delivered_at()), removed_at_time))"""


def load(work: Workspace, source: Source) -> None:
    """Creates relations `videos`, `impressions` and `tags` from a delivery in the folder format."""
    folder, columns_of = source.path, source.fields.columns
    work.load("videos", find(folder, "videos"), columns_of("videos"), VIDEO_CATALOG)
    work.load("impressions", find(folder, "impressions"), columns_of("impressions"), IMPRESSIONS)
    if path := find_optional(folder, "tags"):
        work.load("tags", path, columns_of("tags"), VIDEO_TAGS)
    else:
        columns = ", ".join(f"{name} VARCHAR" for name in columns_of("tags").names)
        work.sql.execute(f"CREATE TABLE tags (file VARCHAR, row BIGINT, {columns})")
    work.sql.execute("CREATE VIEW video_rows AS SELECT file, row, video_id FROM videos")
