"""The point-in-time join of topic features.

Our kernel against Polars, our Delta store against Feast's DuckDB store, and ten times the rows.

Spine and rows come in random order. Polars' `join_asof` needs both sorted by time: that is done
before the clock starts for the call alone, and within it, with the way back to the spine's order,
for the whole job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks import homes
from benchmarks.children import in_child
from benchmarks.data import DAY_US, START_US, rows, video_ids
from benchmarks.figures import Figure, Scale, Target, check, figure, timed
from benchmarks.join_stream import streamed
from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VIDEO_TOPICS
from vidtopics.joins import matches, take_rows
from vidtopics.tables import Tables
from vidtopics.timestamps import microseconds

if TYPE_CHECKING:
    import polars as pl

NAMES = ["topic_ids", "topic_weights"]
VERSIONS = 5
DAYS = 30


@dataclass(frozen=True)
class Sizes:
    """Rows on either side, rounds, and rows on either side of the large join."""

    rows: int
    rounds: int
    large: int


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(1_000_000, 3, 10_000_000),
    "smoke": Sizes(2_000, 1, 5_000),
}


@dataclass(frozen=True)
class Data:
    """`rows`: M rows of video_topics, five of each video; `videos`, `at_us`: N spine rows."""

    rows: pa.Table
    videos: pa.Array
    at_us: NDArray[np.int64]

    @classmethod
    def make(cls, count: int) -> Data:
        """`count` rows on either side."""
        rng = np.random.default_rng(11)
        videos = count // VERSIONS
        event = START_US + rng.integers(0, DAYS * DAY_US, count)
        created = event + rng.integers(0, 2 * DAY_US, count)
        ids = video_ids(rng.permutation(np.arange(count) % videos))
        spine = rng.integers(0, videos, count)
        at = START_US + rng.integers(0, DAYS * DAY_US, count)
        return cls(rows(VIDEO_TOPICS, ids, event, created, seed=11), video_ids(spine), at)

    def times(self, name: str) -> NDArray[np.int64]:
        """int64[M], a time column of the rows."""
        return microseconds(self.rows[name])


def run(scale: Scale) -> list[Figure]:
    """Seconds of each join."""
    sizes = SIZES[scale]
    data = Data.make(sizes.rows)
    return [*_kernels(data, sizes), *_stores(sizes), *_large(sizes)]


def join(data: Data, known_by: bool = False) -> pa.Table:
    """Ours: row numbers, then the payload taken."""
    event, created = data.times(EVENT_TIME), data.times(CREATED_TIME)
    spine, at = pa.table({"video_id": data.videos}), data.at_us
    matched = matches(
        spine, at, data.rows.select(["video_id"]), event, created, known_by=at if known_by else None
    )
    return take_rows(data.rows.select(NAMES), matched)


def frames(data: Data) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same as Polars frames, in the order that they came in."""
    import polars as pl

    spine = pl.DataFrame({"video_id": pl.Series(data.videos), "at": data.at_us}).with_row_index(
        "row_no"
    )
    right = pl.DataFrame(pl.from_arrow(data.rows.select(["video_id", *NAMES])))
    return spine, right.with_columns(pl.Series("event", data.times(EVENT_TIME)))


def asof(spine: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Polars' join of frames that are sorted by time."""
    return spine.join_asof(
        right, left_on="at", right_on="event", by="video_id", check_sortedness=False
    )


def _kernels(data: Data, sizes: Sizes) -> list[Figure]:
    import polars as pl

    spine, right = frames(data)
    left_sorted, right_sorted = spine.sort("at"), right.sort("event")

    def alone() -> pl.DataFrame:
        return asof(left_sorted, right_sorted)

    def whole() -> pl.DataFrame:
        return asof(spine.sort("at"), right.sort("event")).sort("row_no").select(NAMES)

    check(
        "join: the same as Polars, row for row",
        pl.DataFrame(pl.from_arrow(join(data))).equals(whole()),
        True,
    )
    calls: dict[str, Callable[[], object]] = {
        "ours": partial(join, data),
        "known": partial(join, data, known_by=True),
        "alone": alone,
        "whole": whole,
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(sizes.rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call)[0])
    what = f"{sizes.rows:,} x {sizes.rows:,}, kernel and payload"
    kernel = partial(figure, "join", unit="s", targets=[Target("share", 1.3)], compare="share")
    job, bare = "Polars, sorts and spine's order included", "Polars join_asof alone, sorted before"
    return [
        kernel(what, ours=seconds["ours"], peer=seconds["whole"], peer_name=job),
        kernel(
            f"{what}, known by",
            ours=seconds["known"],
            peer=seconds["whole"],
            peer_name=job,
            note="Polars: by event time only",
        ),
        kernel(what, ours=seconds["ours"], peer=seconds["alone"], peer_name=bare),
    ]


def _stores(sizes: Sizes) -> list[Figure]:
    """Both as Feast's users call them, from files to Arrow.

    In a child, as Feast's DuckDB connection is never closed.
    """
    seconds = in_child(__name__, "prepare_stores", count=sizes.rows, rounds=sizes.rounds).result
    what, peer = (
        f"{sizes.rows:,} x {sizes.rows:,}, get_historical_features",
        "Feast's DuckDB store on Parquet",
    )
    return [
        figure("join", what, "s", seconds["delta"], seconds["duckdb"], peer, [Target("faster", 2)])
    ]


def prepare_stores(count: int, rounds: int) -> Callable[[], dict[str, list[float]]]:
    """In the child: seconds of each round of each store."""
    import pandas as pd

    from benchmarks.projects import Offline, project

    data = Data.make(count)
    spine = pd.DataFrame(
        {
            "video_id": data.videos.to_pandas(),
            EVENT_TIME: pd.to_datetime(data.at_us, unit="us", utc=True),
        }
    )
    stores: tuple[Offline, Offline] = ("delta", "duckdb")

    def measure() -> dict[str, list[float]]:
        with homes.folder() as home:
            tables, size = Tables(home), -(-count // VERSIONS)
            for start in range(0, count, size):
                homes.publish(tables, VIDEO_TOPICS, data.rows.slice(start, size))
            homes.parquet(tables, VIDEO_TOPICS)
            projects = {kind: project(home, (VIDEO_TOPICS.name,), offline=kind) for kind in stores}

            def ask(kind: Offline) -> pa.Table:
                refs = [f"{VIDEO_TOPICS.name}:{name}" for name in NAMES]
                return projects[kind].get_historical_features(spine, refs).to_arrow()

            check("join: DuckDB store", digest(ask("delta")), digest(ask("duckdb")))
            turns = [{kind: timed(partial(ask, kind))[0] for kind in stores} for _ in range(rounds)]
            return {kind: [r[kind] for r in turns] for kind in stores}

    return measure


def _large(sizes: Sizes) -> list[Figure]:
    """All in memory, and spine and features on disk: a process of its own for each."""
    what = f"{sizes.large:,} x {sizes.large:,}, known by"
    ways = {
        "in memory": in_child(__name__, "prepare_large", count=sizes.large),
        "Parquet spine to Delta, by join_stream": streamed(sizes.large),
    }
    figures = []
    for way, child in ways.items():
        before = f"{child.before_mb / 1024:.1f} GB before the join"
        peak = [child.peak_mb / 1024]
        figures += [
            figure(
                "join",
                f"{what}, {way}, peak memory",
                "GB",
                peak,
                targets=[Target("most", 8)],
                note=before,
            ),
            figure("join", f"{what}, {way}", "s", [child.seconds]),
        ]
    return figures


def prepare_large(count: int) -> Callable[[], int]:
    """In the child."""
    data = Data.make(count)
    return lambda: len(join(data, known_by=True))


def digest(rows: pa.Table) -> dict[str, Any]:
    """A thousand rows of a join and their number, whatever order its rows are in."""
    ordered = rows.sort_by([("video_id", "ascending"), (EVENT_TIME, "ascending")])
    sample = ordered.take(
        pa.array(np.linspace(0, len(rows) - 1, min(len(rows), 1_000)).astype(int))
    )
    matched = len(rows) - rows[NAMES[0]].null_count
    return {
        "rows": len(rows),
        "matched": matched,
        **{name: sample[name].to_pylist() for name in ("video_id", *NAMES)},
    }
