"""A training set from a Parquet spine to a Delta table.

`join_stream` against `spark_jobs/training_set.py` on `local[2]`.

Both take turns in one process, in which the JVM is warm: its first join has the same size and is
shown apart, with the start of the JVM in it. The tables that they write are compared whole. Seconds
and peak memory of the stream in a process of its own are `benchmarks.join_stream`'s.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from benchmarks import homes
from benchmarks.children import in_child
from benchmarks.figures import Figure, Scale, check, figure, timed
from benchmarks.join_stream import prepare_files, prepare_join
from vidtopics.contracts import VIDEO_TOPICS
from vidtopics.tables import Tables

MASTER = "local[2]"
Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Sizes:
    """Rows on either side, and rounds."""

    rows: int
    rounds: int


SIZES: dict[Scale, Sizes] = {"full": Sizes(1_000_000, 2), "smoke": Sizes(2_000, 1)}


def run(scale: Scale) -> list[Figure]:
    """Seconds of both, and peak memory of the stream."""
    sizes = SIZES[scale]
    with homes.folder() as home, _master():
        in_child("benchmarks.join_stream", prepare_files.__name__, home=str(home), count=sizes.rows)
        alone = in_child(
            "benchmarks.join_stream", prepare_join.__name__, home=str(home), out="alone"
        )
        seconds: Seconds = in_child(
            __name__, prepare_turns.__name__, home=str(home), rounds=sizes.rounds
        ).result
        check_same(home / "alone", home / "spark")
    what = f"{sizes.rows:,} x {sizes.rows:,}, known by, Parquet spine to Delta, by join_stream"
    warm, cold = f"Spark, {MASTER}", f"Spark, {MASTER}, the first join with the JVM's start"
    return [
        figure("training", what, "s", seconds["stream"], seconds["spark"], warm),
        figure(
            "training", f"{what}, in a fresh process", "s", [alone.seconds], seconds["cold"], cold
        ),
        figure(
            "training",
            f"{what}, peak memory",
            "GB",
            [alone.peak_mb / 1024],
            note=f"{alone.before_mb / 1024:.1f} GB before the join",
        ),
    ]


def prepare_turns(home: str, rounds: int) -> Callable[[], Seconds]:
    """In the child: seconds of each round of each side, and of Spark's first join."""
    place = Path(home)

    def measure() -> Seconds:
        cold = timed(partial(_spark, place, "spark"))[0]
        seconds: Seconds = {"stream": [], "spark": [], "cold": [cold]}
        for turn in range(rounds):
            seconds["stream"].append(timed(prepare_join(home, f"stream-{turn}"))[0])
            seconds["spark"].append(timed(partial(_spark, place, f"spark-{turn}"))[0])
        return seconds

    return measure


def _spark(home: Path, out: str) -> None:
    """A session if none runs, then the join as `spark_jobs/training_set.py` makes it."""
    from spark_jobs.training_set import join
    from vidtopics.jobs.session import session
    from vidtopics.tables.spark_reader import read

    spark = session("benchmark")
    views = [(VIDEO_TOPICS, read(spark, Tables(home).delta(VIDEO_TOPICS)))]
    rows = join(spark.read.parquet(str(home / "spine.parquet")), views)
    rows.write.format("delta").save(str(home / out))


def check_same(ours: Path, peer: Path) -> None:
    """StoreError where two tables differ in a row; their order doesn't count."""
    our_rows, peer_rows = (_ordered(path) for path in (ours, peer))
    check("training: rows", len(our_rows), len(peer_rows))
    check("training: columns", our_rows.column_names, peer_rows.column_names)
    for name in our_rows.column_names:
        check(
            f"training: {name} as Spark's",
            our_rows[name].equals(peer_rows[name].cast(our_rows[name].type)),
            True,
        )
    matched = len(our_rows) - our_rows["topic_ids"].null_count
    check("training: some rows have features, others none", 0 < matched < len(our_rows), True)


def _ordered(path: Path) -> pa.Table:
    return DeltaTable(path).to_pyarrow_table().sort_by("event_id")


@contextmanager
def _master() -> Iterator[None]:
    """Children's Spark has two threads."""
    before = os.environ.get("SPARK_MASTER")
    os.environ["SPARK_MASTER"] = MASTER
    try:
        yield
    finally:
        del os.environ["SPARK_MASTER"]
        if before is not None:
            os.environ["SPARK_MASTER"] = before
