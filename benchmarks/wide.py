"""Vectors of 512 numbers joined to spines.

Our Delta store and `join_stream` against Feast's DuckDB store on Parquet.

Memory is of a process of its own for each join: the peak above what it held before (imports,
project, spine). Seconds are of turns in one process. All of them must give the same vectors, which
hold by event time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import homes
from benchmarks.children import Child, in_child
from benchmarks.data import DAY_US, START_US, rows, video_ids
from benchmarks.figures import Figure, Scale, Target, check, figure, timed
from consumers.training import join_stream
from consumers.training.files import write
from consumers.training.spines import open_spine
from vidtopics.contracts import EVENT_TIME, VIDEO_JOINT_REPRESENTATION
from vidtopics.tables import Tables
from vidtopics.tables.schemas import TIMESTAMP, arrow_schema

if TYPE_CHECKING:
    from feast import FeatureStore

    from benchmarks.projects import Offline

VIEW, VECTOR = VIDEO_JOINT_REPRESENTATION, "joint_embedding"
VERSIONS, DAYS = 5, 30
PEER = "Feast's DuckDB store on Parquet"
Digest = dict[str, Any]
Seconds = dict[str, list[float]]
Joined = tuple[Callable[[], pa.Table], Callable[[pa.Table], Digest]]


@dataclass(frozen=True)
class Sizes:
    """Rows with vectors, of them in one commit, rows of the two spines, and rounds."""

    rows: int
    commit: int
    spines: tuple[int, int]
    rounds: int


SIZES: dict[Scale, Sizes] = {
    "full": Sizes(400_000, 50_000, (1_000, 200_000), 3),
    "smoke": Sizes(500, 100, (10, 300), 1),
}


def run(scale: Scale) -> list[Figure]:
    """Seconds and memory of each join."""
    sizes = SIZES[scale]
    with homes.folder() as home:
        in_child(
            __name__, prepare_files.__name__, home=str(home), count=sizes.rows, commit=sizes.commit
        )
        for count in sizes.spines:
            _spine(home, sizes.rows // VERSIONS, count)
        alone = {
            (count, kind): in_child(
                __name__, prepare_store.__name__, home=str(home), count=count, offline=kind
            )
            for count in sizes.spines
            for kind in ("delta", "duckdb")
        }
        large = sizes.spines[-1]
        alone[large, "stream"] = in_child(
            __name__, prepare_stream.__name__, home=str(home), count=large
        )
        for (count, kind), child in alone.items():
            check(f"wide: {count:,} rows, {kind}", child.result, alone[count, "duckdb"].result)
        seconds: Seconds = in_child(
            __name__,
            prepare_turns.__name__,
            home=str(home),
            spines=json.dumps(sizes.spines),
            rounds=sizes.rounds,
        ).result
    return _figures(sizes, seconds, alone)


def prepare_files(home: str, count: int, commit: int) -> Callable[[], None]:
    """In the child: the view in Delta and in Parquet, in random order."""

    def make() -> None:
        tables, rng = Tables(home), np.random.default_rng(13)
        with pq.ParquetWriter(tables.home / f"{VIEW.name}.parquet", arrow_schema(VIEW)) as writer:
            for start in range(0, count, commit):
                size = min(commit, count - start)
                event = START_US + rng.integers(0, DAYS * DAY_US, size)
                ids = video_ids(rng.integers(0, count // VERSIONS, size))
                created = event + rng.integers(0, 2 * DAY_US, size)
                part = rows(VIEW, ids, event, created, seed=start)
                homes.publish(tables, VIEW, part)
                writer.write_table(part)

    return make


def prepare_store(home: str, count: int, offline: Offline) -> Joined:
    """In the child: `get_historical_features` to Arrow."""
    return _asked(Path(home), count, _store(home, offline)), digest


def prepare_stream(home: str, count: int) -> tuple[Callable[[], int], Callable[[int], Digest]]:
    """In the child: from the spine's file to a Parquet file."""
    out = Path(home) / "streamed.parquet"
    return _streamed(
        Path(home), count, out
    ), lambda written: digest(pq.read_table(out)) | {"rows": written}


def prepare_turns(home: str, spines: str, rounds: int) -> Callable[[], Seconds]:
    """In the child: seconds of each round of each way, named by spine and way."""
    place, counts = Path(home), json.loads(spines)
    stores = {"delta": _store(home, "delta"), "duckdb": _store(home, "duckdb")}
    ways: dict[str, Callable[[], object]] = {
        f"{count} {kind}": _asked(place, count, store)
        for count in counts
        for kind, store in stores.items()
    }
    ways["stream"] = _streamed(place, counts[-1])
    ways["written"] = lambda: pq.write_table(
        ways[f"{counts[-1]} duckdb"](), place / f"{uuid4()}.parquet"
    )

    def measure() -> Seconds:
        turns = [{name: timed(way)[0] for name, way in ways.items()} for _ in range(rounds)]
        return {name: [turn[name] for turn in turns] for name in ways}

    return measure


def digest(rows: pa.Table) -> Digest:
    """Rows, those with features, and a checksum of all vectors in the spine's order."""
    vectors = rows.sort_by("event_id")[VECTOR].combine_chunks()
    numbers = vectors.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    sums = [
        hashlib.sha256(part).hexdigest()
        for part in (numbers, vectors.is_valid().to_numpy(zero_copy_only=False))
    ]
    return {"rows": len(rows), "matched": len(rows) - vectors.null_count, "vectors": sums}


def _spine(home: Path, videos: int, count: int) -> None:
    rng = np.random.default_rng(17)
    ids, at = (
        video_ids(rng.integers(0, videos, count)),
        START_US + rng.integers(0, DAYS * DAY_US, count),
    )
    spine = pa.table(
        {"event_id": np.arange(count), "video_id": ids, EVENT_TIME: pa.array(at).cast(TIMESTAMP)}
    )
    pq.write_table(spine, home / f"spine-{count}.parquet")


def _store(home: str, offline: Offline) -> FeatureStore:
    from benchmarks.projects import project

    return project(Path(home), (VIEW.name,), offline=offline)


def _asked(home: Path, count: int, store: FeatureStore) -> Callable[[], pa.Table]:
    """As Feast's users call it, with the spine in memory."""
    spine = pq.read_table(home / f"spine-{count}.parquet").to_pandas()
    refs = [f"{VIEW.name}:{column.name}" for column in VIEW.values]
    return lambda: store.get_historical_features(spine, refs).to_arrow()


def _streamed(home: Path, count: int, out: Path | None = None) -> Callable[[], int]:
    """`join_stream` from file to file; a new one each time if none is named."""

    def join() -> int:
        spine = open_spine(home / f"spine-{count}.parquet", [VIEW])
        return write(
            join_stream(Tables(home), spine, [VIEW], known_by=False, folder=home),
            out or home / f"{uuid4()}.parquet",
        )

    return join


def _figures(
    sizes: Sizes, seconds: Seconds, alone: Mapping[tuple[int, str], Child]
) -> list[Figure]:
    figures = []
    for count in sizes.spines:
        what = f"{count:,} x {sizes.rows:,}, get_historical_features"
        ours, peer = (alone[count, kind] for kind in ("delta", "duckdb"))
        figures += [
            figure(
                "wide",
                what,
                "s",
                seconds[f"{count} delta"],
                seconds[f"{count} duckdb"],
                PEER,
                [Target("faster", 1)],
                note=f"{ours.result['matched']:,} with features",
            ),
            _memory(what, ours, peer),
        ]
    large = sizes.spines[-1]
    what = f"{large:,} x {sizes.rows:,}, join_stream to Parquet"
    name = f"{PEER}, then written by pyarrow"
    return [
        *figures,
        figure(
            "wide", what, "s", seconds["stream"], seconds["written"], name, [Target("faster", 1)]
        ),
        _memory(what, alone[large, "stream"], alone[large, "duckdb"]),
    ]


def _memory(what: str, ours: Child, peer: Child) -> Figure:
    above = [child.peak_mb - child.before_mb for child in (ours, peer)]
    before = f"above {ours.before_mb:,.0f} and {peer.before_mb:,.0f} MB before the join"
    return figure(
        "wide",
        f"{what}, memory",
        "MB",
        above[:1],
        above[1:],
        PEER,
        [Target("share", 1)],
        compare="share",
        note=before,
    )
