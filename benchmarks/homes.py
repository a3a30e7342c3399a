"""Temporary tables and servers, gone with the benchmark that made them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis

from benchmarks.data import DAY_US, START_US, Slots, rows, video_ids
from vidtopics import server
from vidtopics.contracts import CREATED_TIME, EVENT_TIME, RELEASES, VIEWS, Table
from vidtopics.tables import Commit, Tables
from vidtopics.tables.deltalake_engine import append, counted
from vidtopics.tables.releases import Release, in_force, last_run, read_log
from vidtopics.tables.releases import append as append_releases

HOUR_US = DAY_US // 24
UNDER_WAY = ("mem_overhead_db_hashtable_rehashing", "lazyfree_pending_objects")
"""Of Redis's memory: tables that it moves, which it holds twice, and values that it will free."""


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="vidtopics-bench-") as name:
        yield Path(name)


@contextmanager
def redis_server() -> Iterator[str]:
    """The address of a fresh embedded server on loopback, whatever REDIS_URL says."""
    with folder() as home:
        try:
            yield server.start(home)
        finally:
            server.stop(home)


def publish(tables: Tables, table: Table, rows: pa.Table) -> None:
    """Append rows to a view's table in one commit."""
    last_us = int(rows[EVENT_TIME].cast(pa.int64()).to_numpy().max())
    commit = Commit("benchmark", last_us, last_us, ordinal=len(tables.commits(table)) + 1)
    commit = counted(commit, rows.num_rows, rows[CREATED_TIME].cast(pa.int64()))
    append(table, tables.delta(table, create=True), iter(rows.to_batches()), commit)


def release_tables(
    tables: Tables,
    *,
    as_of_us: int = START_US,
    created_us: int = START_US,
    settings: str = "benchmark",
    quality: Mapping[str, float] | None = None,
) -> int | None:
    """Release the tables as they are, for homes that no run of jobs fills; None: nothing changed.

    A run's own release names what it computed itself (`vidtopics/jobs/releasing.py`).
    """
    versions, log = tables.data_versions(), read_log(tables)
    current = in_force(log)
    if current and current.versions == versions:
        return None
    facts = dict(quality or {})
    epoch = int(facts.get("topic_epoch", current.topic_epoch if current else 0))
    number = max((row.release_id for row in log), default=0) + 1
    row = Release(
        number, "released", as_of_us, created_us, versions, epoch, settings, quality=facts
    )
    append_releases(tables, [row], run=last_run(tables.commits(RELEASES)))
    return number


def fill(
    home: Path, views: tuple[str, ...], videos: int, versions: int = 1, slots: Slots = "full"
) -> Tables:
    """Released tables: each video has `versions` rows per view, each a day and a commit later."""
    tables, ids, rng = Tables(home), video_ids(np.arange(videos)), np.random.default_rng(3)
    for name in views:
        for version in range(versions):
            event = START_US + version * DAY_US + rng.integers(0, 24, videos) * HOUR_US
            publish(
                tables,
                VIEWS[name],
                rows(VIEWS[name], ids, event, event + HOUR_US, seed=version, slots=slots),
            )
    release_tables(tables)
    return tables


def parquet(tables: Tables, table: Table) -> Path:
    """The same rows as one Parquet file, for stores that can't read Delta."""
    path = tables.home / f"{table.name}.parquet"
    pq.write_table(tables.read(table), path)
    return path


def used_memory(url: str) -> int:
    """Bytes of the server's data, once it has moved its tables and written its log."""
    with redis.Redis.from_url(url) as connection:
        before = -1
        while True:
            info = cast("dict[str, int]", connection.info("memory"))
            used = info["used_memory"] - info.get("mem_aof_buffer", 0)
            if abs(used - before) < 1_000 and not any(info[name] for name in UNDER_WAY):
                return used
            before = used
            time.sleep(0.1)
