"""Counts and click lists of a day: from yesterday's result, and from the whole log.

A script, as it needs Spark: `python -m benchmarks.daily_counts --home DIR [--days N --rows N]`
makes a log of that many days, runs both jobs as of yesterday and as of today, then today's once
more in a copy without results. It prints rows counted and seconds of each.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from spark_jobs import user_recent_clicks, video_counts
from vidtopics.contracts import CLICKS, IMPRESSIONS, VIDEO_CATALOG, Table
from vidtopics.jobs.increments import log_frame, plan
from vidtopics.jobs.job import Run
from vidtopics.settings import Settings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema

DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US
VIDEOS, USERS, CLICKED = 20_000, 20_000, 0.1
JOBS = ((video_counts.JOB, (IMPRESSIONS, CLICKS)), (user_recent_clicks.JOB, (CLICKS,)))


def fill(tables: Tables, days: range, rows: int) -> None:
    """Deliver a day at a time; a tenth of the impressions is clicked."""
    for day in days:
        rng = np.random.default_rng(day)
        times = pa.array(START_US + day * DAY_US + np.sort(rng.integers(0, DAY_US, rows)))
        columns = {
            "event_id": pa.array([f"{day}-{i}" for i in range(rows)]),
            "user_id": pa.array([f"u{i}" for i in rng.integers(0, USERS, rows)]),
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


def measure(tables: Tables, day: int) -> list[str]:
    """Run both jobs as of the beginning of a day; a line for each."""
    run, lines = Run(tables, Settings(), START_US + day * DAY_US, on_spark=True), []
    run.spark  # noqa: B018  starts the session
    for job, logs in JOBS:
        chosen = plan(run, job, *logs)
        frames = [log_frame(run, log, chosen.seen, chosen.new_rows(log)) for log in logs]
        events, began = sum(frame.count() for frame in frames), time.perf_counter()
        published = job.run(run)
        seconds = time.perf_counter() - began
        counted = f"{events:,} events counted, {published.rows:,} rows written, {seconds:.1f} s"
        lines.append(f"{job.name}: {counted} ({chosen.counted})")
    return lines


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
    options = parser.parse_args()
    tables, days = Tables(options.home / "chain"), options.days
    tables.home.mkdir(parents=True)
    catalogue(tables)
    fill(tables, range(days), options.rows)
    first = measure(tables, days - 1)
    whole = Tables(options.home / "whole")
    shutil.copytree(tables.home, whole.home, ignore=shutil.ignore_patterns("video_*", "user_*"))
    shutil.copytree(tables.path(VIDEO_CATALOG), whole.path(VIDEO_CATALOG))
    for title, lines in (
        ("yesterday", first),
        ("today, from yesterday's result", measure(tables, days)),
        ("today, from the whole log", measure(whole, days)),
    ):
        print("\n".join([f"{title}:", *(f"  {line}" for line in lines)]))  # noqa: T201


if __name__ == "__main__":
    main()
