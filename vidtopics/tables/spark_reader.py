"""Reading tables with Spark: executors read data files by Arrow, as a process without Spark does.

A task gets some data files, or some row groups of a large one, with the columns and the file system
that they are read by; a bucket's is reached with the credentials that the executor's own
environment has. Spark needs no connector of a store for it (docs/adr/0066).
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.errors import MachineError, explain
from vidtopics.tables.row_groups import group_batches
from vidtopics.tables.scans import scan
from vidtopics.tables.schemas import arrow_schema
from vidtopics.tables.whole import whole

if TYPE_CHECKING:
    from vidtopics.tables import Tables

OPEN_BYTES = 4 * 2**20
"""What opening a data file counts as, in bytes read."""
TASK_BYTES = 128 * 2**20
"""What a task reads at most, files of one row group aside."""


@dataclass(frozen=True)
class Share:
    """Every `parts`th row group of a data file, from row group `part` on."""

    fragment: ds.ParquetFileFragment
    part: int = 0
    parts: int = 1

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Its rows, with the columns of `schema`.

        The file is opened once, and a row group's columns are fetched together: a bucket is asked
        four times for a small file, and not fifteen times.
        """
        columns = {name: name for name in schema.names}
        with self.fragment.open() as source:
            file = pq.ParquetFile(source, pre_buffer=True, coerce_int96_timestamp_unit="us")
            for number in range(self.part, file.num_row_groups, self.parts):
                yield from group_batches(self.fragment, file, number, schema, columns)


def at_version(
    tables: Tables,
    table: Table,
    version: int,
    *,
    columns: Iterable[str] | None = None,
    where: ds.Expression | None = None,
) -> DataFrame:
    """All rows of a version, with some columns of the table or all.

    Data files in which, by their statistics, no row meets `where` aren't read.
    """
    spark = SparkSession.getActiveSession()
    if spark is None:
        raise MachineError(
            explain(
                table.name,
                expected="an active Spark session",
                found="none",
                mend="start one with vidtopics.jobs.session",
            )
        )
    if not tables.exists(table):
        return _empty(spark, _selected(arrow_schema(table), columns))
    return read(spark, whole(tables.snapshot(table, version)), columns, where)


def read(
    spark: SparkSession,
    delta: DeltaTable,
    columns: Iterable[str] | None = None,
    where: ds.Expression | None = None,
) -> DataFrame:
    """All rows of a snapshot, as :func:`at_version`."""
    dataset = scan(delta)
    schema = _selected(dataset.schema, columns)
    shares = _shares(delta, dataset.get_fragments(filter=where), _parallelism(spark))
    if not shares:
        return _empty(spark, schema)
    tasks = [pickle.dumps(task) for task in shares]

    def read_task(numbers: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in numbers:
            for number in batch["id"].to_pylist():
                for share in pickle.loads(tasks[number]):  # noqa: S301  the driver's own
                    yield from share.batches(schema)

    numbers = spark.range(0, len(tasks), numPartitions=len(tasks))
    return numbers.mapInArrow(read_task, from_arrow_schema(schema))


def _selected(schema: pa.Schema, columns: Iterable[str] | None) -> pa.Schema:
    names = [*columns] if columns is not None else schema.names
    return pa.schema([schema.field(name).with_nullable(True) for name in names])


def _empty(spark: SparkSession, schema: pa.Schema) -> DataFrame:
    return spark.createDataFrame([], from_arrow_schema(schema))


def _parallelism(spark: SparkSession) -> int:
    return int(spark.sparkContext.defaultParallelism)


def _shares(
    delta: DeltaTable, fragments: Iterable[ds.ParquetFileFragment], parallelism: int
) -> list[list[Share]]:
    """What each task reads: of bounded size, in no more tasks than parallelism asks for."""
    actions = pa.table(delta.get_add_actions(flatten=True))
    sizes = dict(
        zip(
            map(unquote, actions["path"].to_pylist()),
            actions["size_bytes"].to_pylist(),
            strict=True,
        )
    )
    files = [(fragment, sizes[unquote(fragment.path)]) for fragment in fragments]
    return pack(files, parallelism)


def pack(
    files: Sequence[tuple[ds.ParquetFileFragment, int]], parallelism: int
) -> list[list[Share]]:
    """Tasks that read files of known sizes, about `parallelism` or more where these are large.

    >>> [len(task) for task in pack([("a", 100), ("b", 100), ("c", 100)], 1)]
    [3]
    >>> [[(s.fragment, s.part, s.parts) for s in task] for task in pack([("a", 3 * 2**27)], 1)]
    [[('a', 0, 4)], [('a', 1, 4)], [('a', 2, 4)], [('a', 3, 4)]]
    """
    total = sum(size + OPEN_BYTES for _, size in files)
    most = min(TASK_BYTES, max(OPEN_BYTES, math.ceil(total / parallelism)))
    tasks: list[list[Share]] = []
    filled = most
    for fragment, size in sorted(files, key=lambda file: file[1], reverse=True):
        parts = math.ceil((size + OPEN_BYTES) / most)
        for part in range(parts):
            cost = size // parts + OPEN_BYTES
            if filled + cost > most:
                tasks.append([])
                filled = 0
            tasks[-1].append(Share(fragment, part, parts))
            filled += cost
    return tasks


def as_of(
    tables: Tables,
    table: Table,
    at_us: int,
    known_by_us: int,
    *,
    columns: Iterable[str] | None = None,
    where: ds.Expression | None = None,
) -> DataFrame:
    """Rows that a reader sees as of `at_us`, known by `known_by_us`; see `Tables.as_of`.

    `where` holds for all of them, and spares data files.
    """
    names = [*columns] if columns is not None else [c.name for c in table.columns]
    if table.kind == "snapshot":
        return at_version(tables, table, tables._snapshot_version(table, at_us), columns=names)
    version, times = tables.version(table), [EVENT_TIME, CREATED_TIME]
    event, created = F.unix_micros(EVENT_TIME), F.unix_micros(CREATED_TIME)
    if table.kind == "log":
        required = dict.fromkeys([*names, *times])
        rows = at_version(tables, table, version, columns=required, where=where)
        return rows.filter((created <= known_by_us) & (event < at_us)).select(names)
    required = dict.fromkeys([*names, *table.key, *times, VALUE_HASH])
    rows = at_version(tables, table, version, columns=required, where=where)
    latest = Window.partitionBy(*table.key).orderBy(F.desc(EVENT_TIME), F.desc(CREATED_TIME))
    placed = rows.filter((created <= known_by_us) & (event <= at_us)).withColumn(
        "place", F.row_number().over(latest)
    )
    return placed.filter((F.col("place") == 1) & (F.col(VALUE_HASH) != 0)).select(names)
