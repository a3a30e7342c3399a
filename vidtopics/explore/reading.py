"""Reading what the topic page shows from the tables of the latest release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidtopics.contracts import (
    TOPIC_QUEUES,
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_STATISTICS,
    VIDEO_TAGS,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.errors import TableError, explain
from vidtopics.explore.data import PageData, Queued, Release, Topic, Video
from vidtopics.rates import Prior, smoothed_ctr
from vidtopics.settings import StatisticsSettings
from vidtopics.tables import Tables

Row = dict[str, Any]  # a row of a table, as its contract describes it


def collect(
    tables: Tables, *, prior_exposures: float = StatisticsSettings().prior_exposures
) -> PageData:
    """The topics, videos and queues of the latest release, as they held at its as-of time.

    Retired topics and removed videos are left out, and whatever was published after the release.

    Raises:
        TableError: nothing was released, the release has no topics, or its tables are of several
            topic epochs.
    """
    row = tables.latest_release()
    read = _Reader(tables, row)
    topic_rows = read.rows(TOPICS).filter(pc.is_null(pc.field("retired"))).sort_by("topic_id")
    if not topic_rows.num_rows:
        raise _missing(tables, TOPICS, f"topics in release {row['release_id']}")
    assigned = read.rows(VIDEO_TOPICS)
    release = Release(
        row["release_id"],
        row["as_of"],
        row["topic_epoch"],
        pc.mean(assigned["topic_count"]).as_py() or 0,
    )
    topics = tuple(
        Topic(r["topic_id"], tuple(r["label_terms"]), r["size"], r["born"])
        for r in topic_rows.to_pylist()
    )
    videos = _videos(read, assigned, {topic.topic_id for topic in topics}, prior_exposures)
    centroids = np.stack(topic_rows["centroid"].to_numpy()).astype(np.float32)
    return PageData(
        release, topics, centroids, videos, _queues(read, {video.video_id for video in videos})
    )


class _Reader:
    """The tables as one release names them."""

    def __init__(self, tables: Tables, release: Row) -> None:
        self.tables = tables
        self.versions: Mapping[str, int] = release["versions"]
        self.as_of_us, self.epoch = release["as_of_us"], release["topic_epoch"]

    def rows(self, table: Table) -> pa.Table:
        """The rows at the release's as-of time; none where the release has no such table."""
        version = self.versions.get(table.name)
        if version is None:
            return self.tables.as_of(table, self.as_of_us, known_by_us=0)
        if table.kind == "snapshot":
            rows = self.tables.read(table, version=version)
        else:  # a commit after the release is known later than all of its own
            known = max(c.created_us for c in self.tables.commits(table) if c.version <= version)
            rows = self.tables.as_of(table, self.as_of_us, known)
        self._refuse_other_epochs(table, rows)
        return rows

    def _refuse_other_epochs(self, table: Table, rows: pa.Table) -> None:
        if "topic_epoch" not in rows.column_names:
            return
        epochs = set(pc.unique(rows["topic_epoch"]).to_pylist())
        if epochs - {self.epoch}:
            raise TableError(
                explain(
                    table.name,
                    expected=f"topic epoch {self.epoch}, the release's",
                    found=f"{sorted(epochs)}",
                    mend="run `vidtopics run`, so that all tables follow the new epoch",
                )
            )


def _missing(tables: Tables, table: Table, expected: str) -> TableError:
    return TableError(
        explain(
            str(tables.path(table)),
            expected=expected,
            found="none",
            mend="run `vidtopics ingest` and `vidtopics run`",
        )
    )


def _videos(
    read: _Reader, assigned: pa.Table, live_topics: set[int], prior_exposures: float
) -> tuple[Video, ...]:
    """The catalogue's videos by id; topics that ended since they were assigned are left out."""
    catalog = read.rows(VIDEO_CATALOG).sort_by("video_id")
    removed = pc.fill_null(catalog["removed_at"].cast(pa.int64()), 2**62)
    topics = {row["video_id"]: row for row in assigned.to_pylist()}
    counts = _rated(read.rows(VIDEO_STATISTICS), prior_exposures)
    tags: dict[str, list[str]] = {}
    for row in (
        read.rows(VIDEO_TAGS).sort_by([("video_id", "ascending"), ("tag", "ascending")]).to_pylist()
    ):
        tags.setdefault(row["video_id"], []).append(row["spelling"])
    return tuple(
        _video(
            row,
            tags.get(row["video_id"], []),
            topics.get(row["video_id"]),
            counts.get(row["video_id"]),
            live_topics,
        )
        for row in catalog.filter(pc.greater(removed, read.as_of_us)).to_pylist()
    )


def _rated(statistics: pa.Table, prior_exposures: float) -> dict[str, Row]:
    """Each video's counts with its smoothed rate `ctr`, as topic queues rank by."""
    clicks, exposures = (
        statistics[name].to_numpy() for name in ("video_clicks", "video_exposures")
    )
    prior = Prior.of_totals(int(clicks.sum()), int(exposures.sum()), exposures=prior_exposures)
    rates = smoothed_ctr(clicks, exposures, prior)
    rows = statistics.append_column("ctr", pa.array(rates)).to_pylist()
    return {row["video_id"]: row for row in rows}


def _video(
    row: Row, tags: list[str], topics: Row | None, counts: Row | None, live_topics: set[int]
) -> Video:
    slots = list(zip(topics["topic_ids"], topics["topic_weights"], strict=True)) if topics else []
    return Video(
        row["video_id"],
        row["title"],
        row["cover"],
        primary_classes=tuple(row["primary_classes"]),
        secondary_classes=tuple(row["secondary_classes"]),
        tags=tuple(tags),
        topics=tuple((t, float(w)) for t, w in slots if t in live_topics),
        below_threshold=bool(topics and topics["below_threshold"]),
        exposures=counts["video_exposures"] if counts else 0,
        clicks=counts["video_clicks"] if counts else 0,
        ctr=counts["ctr"] if counts else None,
    )


def _queues(read: _Reader, videos: set[str]) -> dict[int, tuple[Queued, ...]] | None:
    if TOPIC_QUEUES.name not in read.versions:
        return None
    queues: dict[int, list[Queued]] = {}
    order = [("topic_id", "ascending"), ("queue_position", "ascending")]
    for row in read.rows(TOPIC_QUEUES).sort_by(order).to_pylist():
        if row["video_id"] in videos:
            place = Queued(row["video_id"], row["queue_ctr"], row["queue_exposures"], row["fresh"])
            queues.setdefault(row["topic_id"], []).append(place)
    return {topic_id: tuple(places) for topic_id, places in queues.items()}
