"""What jobs of videos and users cost a day: from yesterday's result, and from the whole log.

`python -m benchmarks.daily_counts --home DIR [--days N --rows N --users N]` makes a log of that
many days, runs the jobs as of yesterday and as of today, then today's once more in a copy without
results, all in this process. It prints rows counted, rows written and seconds of each, and the
most memory that the process had.
"""

from __future__ import annotations

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.children import memory_mb
from spark_jobs import (
    user_recent_clicks,
    user_recent_skips,
    user_statistics,
    user_topic_counts,
    user_topics,
    video_counts,
)
from vidtopics.contracts import (
    CLICKS,
    IMPRESSIONS,
    TOPIC_SLOTS,
    TOPICS,
    VIDEO_CATALOG,
    VIDEO_TOPICS,
    Table,
)
from vidtopics.jobs.increments import COUNTED, connect, plan, view_rows
from vidtopics.jobs.job import Job, Run
from vidtopics.settings import Settings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema

DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US
VIDEOS, TOPIC_COUNT, CLICKED = 20_000, 250, 0.1
BOTH = (IMPRESSIONS, CLICKS)
JOBS: tuple[tuple[Job, tuple[Table, ...]], ...] = (
    (video_counts.JOB, BOTH),
    (user_statistics.JOB, BOTH),
    (user_topic_counts.JOB, BOTH),
    (user_topics.JOB, ()),
    (user_recent_clicks.JOB, (CLICKS,)),
    (user_recent_skips.JOB, BOTH),
)


def fill(tables: Tables, days: range, rows: int, users: int) -> None:
    """Deliver a day at a time; a tenth of the impressions is clicked."""
    for day in days:
        rng = np.random.default_rng(day)
        times = pa.array(START_US + day * DAY_US + np.sort(rng.integers(0, DAY_US, rows)))
        columns = {
            "event_id": pa.array([f"{day}-{i}" for i in range(rows)]),
            "user_id": pa.array([f"u{i}" for i in rng.integers(0, users, rows)]),
            "video_id": pa.array([f"v{i}" for i in rng.zipf(1.3, rows) % VIDEOS]),
            "event_timestamp": times.cast(TIMESTAMP),
            "created_timestamp": times.cast(TIMESTAMP),
        }
        shown = pa.table(columns)
        _publish(tables, IMPRESSIONS, shown)
        _publish(tables, CLICKS, shown.filter(pa.array(rng.random(rows) < CLICKED)))


def catalogue(tables: Tables) -> None:
    """One video, published before the log: the jobs ask for a live one."""
    video: dict[str, object] = {"video_id": "v0", "title": "", "cover": "", "content_hash": ""}
    video |= {"primary_classes": [], "secondary_classes": [], "removed_at": None}
    video |= dict.fromkeys(("published_at", "event_timestamp", "created_timestamp"), START_US)
    schema = arrow_schema(VIDEO_CATALOG, VIDEO_CATALOG.timed_columns)
    rows = pa.Table.from_pylist([video], schema=schema)
    tables.publish(VIDEO_CATALOG, rows, _commit(), changes=True)


def topics(tables: Tables) -> None:
    """Four topics of each video, and ten topics a parent."""
    rng, unused = np.random.default_rng(1), TOPIC_SLOTS - 4
    videos = [
        {
            "video_id": f"v{i}",
            "topic_ids": [*rng.integers(0, TOPIC_COUNT, 4).tolist(), *[-1] * unused],
            "topic_weights": [0.9, 0.8, 0.7, 0.6, *[0.0] * unused],
            "parent_topic_ids": [-1] * TOPIC_SLOTS,
            "topic_count": 4,
            "below_threshold": False,
            "topic_epoch": 1,
        }
        for i in range(VIDEOS)
    ]
    centres = [
        {
            "topic_id": topic,
            "centroid": [1.0],
            "size": 1,
            "label_terms": [],
            "topic_epoch": 1,
            "born": START_US,
            "parent_topic_id": 1_000 + topic // 10,
        }
        for topic in range(TOPIC_COUNT)
    ]
    for table, rows in ((VIDEO_TOPICS, videos), (TOPICS, centres)):
        data = pa.Table.from_pylist(rows, schema=arrow_schema(table, table.columns))
        commit = Commit(table.name, START_US, START_US)
        one_process = replace(table, engine="deltalake")
        tables.publish(one_process, data, commit, widths={"topic_width": 1})


def measure(tables: Tables, day: int) -> list[str]:
    """Run the jobs as of the beginning of a day; a line for each."""
    run, lines = Run(tables, Settings(), START_US + day * DAY_US), []
    for job, logs in JOBS:
        events, began = _new_events(run, job, logs), time.perf_counter()
        published = job.run(run)
        seconds = time.perf_counter() - began
        counted = job.last(run).facts.get(COUNTED, "of what the job before changed")
        written = f"{published.rows:,} rows written, {seconds:.1f} s"
        lines.append(f"{job.name}: {events:,} events counted, {written} ({counted})")
    return lines


def _new_events(run: Run, job: Job, logs: tuple[Table, ...]) -> int:
    """Rows of the logs that a run of the job will count."""
    if not logs:
        return 0
    chosen, events = plan(run, job, *logs), 0
    with connect(run) as con:
        for log in logs:
            view_rows(con, log.name, run, log, chosen.seen, chosen.new_rows(log))
            events += con.sql(f"SELECT COUNT(*) FROM {log.name}").fetchall()[0][0]
    return events


def _publish(tables: Tables, table: Table, rows: pa.Table) -> None:
    schema = arrow_schema(table, table.timed_columns)
    columns = [
        rows[f.name] if f.name in rows.column_names else pa.nulls(len(rows), f.type) for f in schema
    ]
    tables.publish(table, pa.table(columns, schema=schema), _commit())


def _commit() -> Commit:
    known_us = START_US + 700 * DAY_US
    return Commit("ingest", known_us, known_us, live=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=20_000)
    options = parser.parse_args()
    tables, days = Tables(options.home / "chain"), options.days
    tables.home.mkdir(parents=True)
    catalogue(tables)
    topics(tables)
    fill(tables, range(days), options.rows, options.users)
    first = measure(tables, days - 1)
    whole = Tables(options.home / "whole")
    shutil.copytree(tables.home, whole.home, ignore=shutil.ignore_patterns("video_*", "user_*"))
    for table in (VIDEO_CATALOG, VIDEO_TOPICS):
        shutil.copytree(tables.path(table), whole.path(table))
    for title, lines in (
        ("yesterday", first),
        ("today, from yesterday's result", measure(tables, days)),
        ("today, from the whole log", measure(whole, days)),
    ):
        print("\n".join([f"{title}:", *(f"  {line}" for line in lines)]))  # noqa: T201
    print(f"most memory: {memory_mb('VmHWM'):,.0f} MiB")  # noqa: T201


if __name__ == "__main__":
    main()
