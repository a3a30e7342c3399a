"""The latest release into Redis, its rows moved by executors where one machine is too slow.

    spark-submit --properties-file conf/spark-defaults.conf spark_jobs/online_store.py --home H
    [--config F] [--full] [--embedded]

What is new, generations, the lock and watermarks are the driver's, as in `vidtopics materialize`.
Executors read the data files that are new, each some of them, and write values; two rows of one
video may come from two executors, and the later wins in Redis. They need the tables' storage,
Redis, and the package. Watermarks move once all have ended well.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from vidtopics.materialization import Moved, StoreWriter, materialize
from vidtopics.materialization.changes import files
from vidtopics.materialization.loading import Loaded, Loader, Progress, Work, load_here
from vidtopics.materialization.lock import Lease
from vidtopics.materialization.writer import Load
from vidtopics.online.connections import connect
from vidtopics.settings import Settings
from vidtopics.tables import Tables

FILE = pa.schema([("name", pa.string())])
LOADED = "read bigint, moved bigint, written bigint, not_due bigint, sent array<string>"
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Target:
    """Where executors write; `number` is the driver's, so that a later run's fence stops them.

    `load` and `retained` as :meth:`StoreWriter.load` takes them.

    >>> Target("redis://:secret@host:6379", "vt", 16, number="1", load=7, retained=(6,))
    Target(prefix='vt', buckets=16, number='1', load=7, retained=(6,))
    """

    url: str = field(repr=False)  # holds the password
    prefix: str
    buckets: int
    number: str
    load: int
    retained: tuple[int, ...]


def move(work: Work, target: Target, names: frozenset[str]) -> Loaded:
    """On an executor: the rows of some files, to the last one."""
    with connect(target.url, timeout_s=TIMEOUT_S) as connection:
        lease = Lease(connection, target.prefix, target.number)
        writer = StoreWriter(connection, prefix=target.prefix, buckets=target.buckets, lease=lease)
        load = writer.load(work.entry, load=target.load, retained=target.retained)
        done = load_here(replace(work, names=names), load, lambda name, rows, total: None)
        return replace(done, written=load.finish(), sent=(load.sent(),))


def spread(spark: SparkSession, url: str, tasks: int) -> Loader:
    """A loader that gives each of `tasks` tasks its share of the files."""

    def loader(work: Work, load: Load, progress: Progress) -> Loaded:
        names = (
            work.names
            if work.names is not None
            else files(DeltaTable(work.uri, version=work.version))
        )
        if not names:
            return Loaded()
        lease = load.lease
        assert lease is not None
        target = Target(
            url, lease.prefix, load.space.buckets, lease.number, load.load, load.retained
        )

        def part(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            names = frozenset(name for batch in batches for name in batch["name"].to_pylist())
            if names:
                yield pa.RecordBatch.from_pylist([asdict(move(work, target, names))])

        listed = spark.createDataFrame(pa.table({"name": sorted(names)}, schema=FILE)).repartition(
            min(tasks, len(names))
        )
        rows: list[Any] = listed.mapInArrow(part, LOADED).collect()
        total = sum((Loaded(*row) for row in rows), Loaded())
        progress(work.table.name, total.moved, total.moved)
        return total

    return loader


def run(
    tables: Tables, settings: Settings, spark: SparkSession, url: str, *, full: bool = False
) -> list[Moved]:
    """As :func:`vidtopics.materialization.materialize`, on executors that reach `url`."""
    tasks = spark.sparkContext.defaultParallelism * 4
    with connect(url, timeout_s=TIMEOUT_S) as connection:
        return materialize(
            tables,
            connection,
            settings.online,
            gates=settings.gates,
            full=full,
            loader=spread(spark, url, tasks),
        )


def main() -> None:
    """The command line."""
    from vidtopics.jobs.place import home_folder
    from vidtopics.jobs.session import session
    from vidtopics.server import remember, url_of
    from vidtopics.settings import load

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", default=".vidtopics")
    parser.add_argument("--config", default="conf/demo.yaml")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--embedded", action="store_true")
    options = parser.parse_args()
    tables = Tables(home_folder(options.home))
    url = url_of(tables.home, embedded=options.embedded)
    spark = session("online_store", log=tables.home / "logs" / "spark.log")
    for moved in run(tables, load(options.config), spark, url, full=options.full):
        print(moved)  # noqa: T201
    remember(tables.home, url)


if __name__ == "__main__":
    main()
