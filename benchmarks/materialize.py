"""A history table into Redis: our materialiser against `feast materialize`.

Feast has its local engine and its Redis store.

Every run is a fresh process on a fresh server. Feast has no reader for Delta that works without
downloading an extension, so it runs twice: over the same Delta table through our offline store, and
over the same rows in Parquet with its own DuckDB store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import redis

from benchmarks import homes
from benchmarks.children import Child, in_child
from benchmarks.figures import Figure, Scale, Target, check, figure
from vidtopics.contracts import VIDEO_TOPICS


@dataclass(frozen=True)
class Sizes:
    """Videos, rows of each, and rounds."""

    videos: int
    versions: int
    rounds: int


SIZES: dict[Scale, Sizes] = {"full": Sizes(200_000, 5, 3), "smoke": Sizes(500, 5, 1)}
ENGINES = {
    "ours": "",
    "delta": "Feast, local engine, our Delta store",
    "duckdb": "Feast, local engine, DuckDB on Parquet",
}


def run(scale: Scale) -> list[Figure]:
    """Unique keys per second, and peak memory of the process."""
    sizes = SIZES[scale]
    rounds: dict[str, list[Child]] = {engine: [] for engine in ENGINES}
    with homes.folder() as home:
        tables = homes.fill(home, (VIDEO_TOPICS.name,), sizes.videos, sizes.versions)
        homes.parquet(tables, VIDEO_TOPICS)
        for _ in range(sizes.rounds):
            for engine, done in rounds.items():
                with homes.redis_server() as url:
                    done.append(load(home, engine, url, (VIDEO_TOPICS.name,)))
                    check(f"materialize: {engine} keys", _keys(url, engine), sizes.videos)
    return _figures(sizes, rounds)


def load(home: Path, engine: str, url: str, views: tuple[str, ...]) -> Child:
    """Views into Redis by one engine (a key of ENGINES), in a process of its own."""
    if engine == "ours":
        return in_child(__name__, "prepare_ours", home=str(home), url=url)
    return in_child(
        __name__, "prepare_feast", home=str(home), url=url, offline=engine, views=" ".join(views)
    )


def prepare_ours(home: str, url: str) -> Callable[[], int]:
    """In the child; no import of Feast, as in `vidtopics materialize`."""
    from vidtopics.materialization import materialize
    from vidtopics.settings import OnlineSettings
    from vidtopics.tables import Tables

    tables, connection = Tables(home), redis.Redis.from_url(url)
    return lambda: sum(moved.written for moved in materialize(tables, connection, OnlineSettings()))


def prepare_feast(home: str, url: str, offline: str, views: str) -> Callable[[], None]:
    """In the child: what `feast materialize START END` does once it has read its files."""
    from benchmarks.projects import Offline, project
    from benchmarks.serving import EPOCH, TODAY

    store = project(
        Path(home), tuple(views.split()), offline=cast("Offline", offline), online="feast", url=url
    )
    return lambda: store.materialize(EPOCH, TODAY)


def _keys(url: str, engine: str) -> int:
    """Videos that are there; of ours the keys of the first view, whose number is 1."""
    with redis.Redis.from_url(url) as connection:
        if engine != "ours":
            return cast("int", connection.dbsize())
        return sum(1 for _ in connection.scan_iter(match="vt:1:1:{*", count=10_000))


def _figures(sizes: Sizes, rounds: dict[str, list[Child]]) -> list[Figure]:
    rows = f"{sizes.videos * sizes.versions:,} rows of {sizes.videos:,} videos"
    figures = []
    for engine, peer in ENGINES.items():
        if engine == "ours":
            continue
        ours, theirs = rounds["ours"], rounds[engine]
        figures += [
            figure(
                "materialize",
                f"{rows}, unique keys",
                "keys/s",
                [sizes.videos / c.seconds for c in ours],
                [sizes.videos / c.seconds for c in theirs],
                peer,
                [Target("least", 50_000), Target("faster", 5)],
            ),
            figure(
                "materialize",
                f"{rows}, peak memory",
                "MB",
                [c.peak_mb for c in ours],
                [c.peak_mb for c in theirs],
                peer,
                [Target("share", 0.5)],
                compare="share",
                note=f"before the first row: {ours[0].before_mb:,.0f} and"
                f" {theirs[0].before_mb:,.0f} MB of imports",
            ),
        ]
    return figures
