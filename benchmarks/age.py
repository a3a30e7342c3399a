"""A home at age: what opening a table, a round without news, a scrape and the last release cost.

The home has 10,000 commits of one file each on a view's table and 1,000 releases. Their logs are
written as the engines write them, without going through 11,000 commits; the last checkpoint is half
an interval behind. The peers do what the package did before it read logs from their ends, on the
same home: all entries, all releases, a dataset to list files. Each figure is of a fresh process.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from deltalake import DeltaTable

from benchmarks import homes
from benchmarks.children import in_child
from benchmarks.data import DAY_US, START_US, rows, video_ids
from benchmarks.figures import Figure, Scale, Target, check, figure
from vidtopics.contracts import RELEASES, VIDEO_TOPICS, Table
from vidtopics.materialization import materialize
from vidtopics.materialization.releases import lag_s
from vidtopics.settings import OnlineSettings
from vidtopics.tables import Commit, Tables
from vidtopics.tables.releases import Release, in_force, read_log
from vidtopics.tables.scans import scan
from vidtopics.tables.tail import LOG, METADATA

SETTINGS = OnlineSettings()
SIZES: dict[Scale, tuple[int, int, int]] = {"full": (10_000, 1_000, 5), "smoke": (300, 120, 1)}
"""Commits, releases, rounds."""
BEHIND = 50


def run(scale: Scale) -> list[Figure]:
    """Milliseconds of each, and the read calls of a round."""
    commits, releases, rounds = SIZES[scale]
    with homes.folder() as home, homes.redis_server() as url:
        build(home, commits, releases)
        with redis.Redis.from_url(url) as connection:
            materialize(Tables(home), connection, SETTINGS)
        ours, peers = (
            {
                name: [in_child("benchmarks.age", name, home=str(home), url=url) for _ in range(n)]
                for name in names
            }
            for names, n in ((OURS, rounds), (PEERS, 1))
        )
    check("age: the last commit", ours["last_commit"][0].result, peers["all_commits"][0].result)
    check("age: the release", ours["last_release"][0].result, peers["all_releases"][0].result)
    return [
        figure(
            "age",
            f"{commits:,} commits, {releases:,} releases: {what}",
            "ms",
            [child.result["ms"] if what in CPU else child.seconds * 1e3 for child in ours[name]],
            [child.seconds * 1e3 for child in peers[peer]] if peer else [],
            peer_name,
            [Target("most", most)] if most else [],
            note=note(ours[name][0].result) if what in CPU else "",
        )
        for what, name, most, peer, peer_name in FIGURES
    ]


def note(result: Mapping[str, Any]) -> str:
    """Of a round: its read calls."""
    return f"{result['reads']:,.0f} read calls of the system"


CPU = {"a round without news, CPU"}
FIGURES = (
    ("open the table", "opened", 50, "opened_without_checkpoint", "without a checkpoint"),
    ("a round without news, CPU", "idle_round", 200, "", ""),
    ("a scrape's lag", "scrape", 20, "all_releases", "all releases read"),
    ("the release in force", "last_release", None, "all_releases", "all releases read"),
    ("the last live run of the job", "last_commit", None, "all_commits", "all commits read"),
    ("names of all data files", "file_names", None, "dataset", "a dataset of them"),
)
OURS = ("opened", "idle_round", "scrape", "last_release", "last_commit", "file_names")
PEERS = ("opened_without_checkpoint", "all_releases", "all_commits", "dataset")


def opened(home: str, url: str) -> Callable[[], object]:
    """Open the table as every job does."""
    tables = Tables(home)
    return lambda: tables.delta(VIDEO_TOPICS).version()


def opened_without_checkpoint(home: str, url: str) -> Callable[[], object]:
    """Open a copy whose log has entries alone."""
    folder = Path(home) / "without"
    (folder / LOG).mkdir(parents=True, exist_ok=True)
    for path in (Tables(home).path(VIDEO_TOPICS) / LOG).glob("*.json"):
        if not (target := folder / LOG / path.name).exists():
            os.link(path, target)
    return lambda: DeltaTable(folder).version()


def idle_round(home: str, url: str) -> Callable[[], object]:
    """The second round of a service; its CPU and its read calls, all threads of them."""
    tables = Tables(home)
    connection = redis.Redis.from_url(url)

    def rounds() -> dict[str, float]:
        materialize(tables, connection, SETTINGS)
        reads, cpu = _read_calls(), time.process_time()
        materialize(tables, connection, SETTINGS)
        return {"ms": (time.process_time() - cpu) * 1e3, "reads": _read_calls() - reads}

    return rounds


def scrape(home: str, url: str) -> Callable[[], object]:
    """What a scrape of the metrics asks the tables for, all releases being loaded."""
    tables, release = Tables(home), Tables(home).latest_release()["release_id"]
    return lambda: lag_s(tables, release)


def last_release(home: str, url: str) -> Callable[[], object]:
    """The release in force."""
    tables = Tables(home)
    return lambda: tables.latest_release()["release_id"]


def all_releases(home: str, url: str) -> Callable[[], object]:
    """The same from the whole table."""
    tables = Tables(home)

    def read() -> int:
        table = scan(tables.delta(RELEASES)).to_table().to_pylist()
        return max(int(row["release_id"]) for row in table)

    return read


def last_commit(home: str, url: str) -> Callable[[], object]:
    """What decides whether a live run is done."""
    tables = Tables(home)
    return lambda: next(c for c in reversed(tables.commits(VIDEO_TOPICS)) if c.live).ordinal


def all_commits(home: str, url: str) -> Callable[[], object]:
    """The same from all commits."""
    tables = Tables(home)
    return lambda: [c for c in list(tables.commits(VIDEO_TOPICS)) if c.live][-1].ordinal


def file_names(home: str, url: str) -> Callable[[], object]:
    """Names of the table's data files."""
    delta = Tables(home).delta(VIDEO_TOPICS)
    return lambda: len(delta.file_uris())


def dataset(home: str, url: str) -> Callable[[], object]:
    """The same from an Arrow dataset."""
    delta = Tables(home).delta(VIDEO_TOPICS)
    return lambda: len(scan(delta).files)


def build(home: Path, commits: int, releases: int) -> None:
    """A home of that age."""
    tables = Tables(home)
    _grow(tables, VIDEO_TOPICS, _values(commits), "video_topics")
    _grow(tables, RELEASES, _releases(releases, commits), "release")
    check("age: releases", in_force(read_log(tables)), _release(releases, commits))


def _values(count: int) -> Iterator[pa.Table]:
    """A row of one video, an hour and a file after the last."""
    times = START_US + np.arange(count) * homes.HOUR_US // 60
    every = rows(VIDEO_TOPICS, video_ids(np.arange(count) % 500), times, times, seed=1)
    return (every.slice(i, 1) for i in range(count))


def _releases(count: int, version: int) -> Iterator[pa.Table]:
    from vidtopics.tables.releases import _batch

    return (pa.Table.from_batches([_batch([_release(i + 1, version)])]) for i in range(count))


def _release(number: int, version: int) -> Release:
    us = START_US + number * DAY_US // 10
    versions = {VIDEO_TOPICS.name: version}
    figures = {f"video_topics.figure_{i}": float(i) for i in range(20)}
    return Release(number, "released", us, us, versions, 1, "settings", {"topics": 9.0}, figures)


def _grow(tables: Tables, table: Table, parts: Iterator[pa.Table], job: str) -> None:
    """A commit per part; a checkpoint lies some commits before the last."""
    log = tables.path(table) / LOG
    tables.delta(table, create=True)
    entries = []
    for number, part in enumerate(parts, start=1):
        name = f"part-{number:06}.parquet"
        pq.write_table(part, tables.path(table) / name)
        size = (tables.path(table) / name).stat().st_size
        entries.append(_entry(number, name, size, job))
    behind = max(0, len(entries) - BEHIND)
    for number, text in enumerate(entries, start=1):
        if number == behind + 1:
            DeltaTable(tables.uri(table)).create_checkpoint()
        (log / f"{number:020}.json").write_text(text)


def _entry(number: int, name: str, size: int, job: str) -> str:
    us = START_US + number * homes.HOUR_US // 60
    commit = Commit(job, us, us, True, "code", "settings", rows=1, created_min_us=us)
    commit = replace(commit, ordinal=number)
    info = {"timestamp": us // 1_000, "operation": "WRITE", METADATA: commit.to_json()}
    add = {
        "path": name,
        "partitionValues": {},
        "size": size,
        "modificationTime": us // 1_000,
        "dataChange": True,
        "stats": json.dumps({"numRecords": 1}),
    }
    actions = ({"commitInfo": info}, {"txn": {"appId": job, "version": number}}, {"add": add})
    return "\n".join(map(json.dumps, actions))


def _read_calls() -> int:
    with open("/proc/self/io", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("syscr"))
