"""Publishing with Spark: the same contract, hash and SQL as `deltalake_engine`, over DataFrames.

Checks and hashes run on the executors inside `mapInArrow`, and executors write the data files
(:mod:`vidtopics.tables.spark_writer`). The driver commits them as `deltalake_engine` commits its
own: one conditional put of the next version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import reduce
from typing import Literal

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.errors import ContractError, explain
from vidtopics.failpoints import failpoint
from vidtopics.tables import deltalake_engine, difference, spark_reader, spark_writer
from vidtopics.tables.commits import Commit
from vidtopics.tables.schemas import arrow_schema, indexed
from vidtopics.tables.values import TOMBSTONE, value_hash, violations

_FAULT = "_fault"


def publish_complete(
    table: Table,
    delta: DeltaTable,
    rows: DataFrame,
    commit: Commit,
    following: difference.RunTimes | None,
    widths: Mapping[str, int],
) -> Commit:
    """Publish every entity's value as of one time; ContractError where rows break the contract."""
    spark = rows.sparkSession
    asserted = _with_faults(table, rows, widths).persist()
    try:
        _refuse(table, asserted)
        run = difference.RunTimes(commit.as_of_us, commit.created_us)
        asserted.createOrReplaceTempView("asserted")
        _history(table, spark, delta).createOrReplaceTempView("history")
        changes = spark.sql(difference.complete_run(table.key, run, following)).persist()
        kinds = {
            row["kind"]: row
            for row in changes.groupBy("kind")
            .agg(F.count("*").alias("rows"), F.min("created_us").alias("first"))
            .collect()
        }
        failpoint("publish.compared")
        written = _rows_to_write(table, changes, asserted, delta, set(kinds))
        rows_written = sum(row["rows"] for row in kinds.values())
        result = _append(
            table,
            delta,
            written,
            replace(
                commit,
                rows=rows_written,
                created_min_us=min((row["first"] for row in kinds.values()), default=None),
            ),
        )
        changes.unpersist()
        return result
    finally:
        asserted.unpersist()


def publish_snapshot(
    table: Table, delta: DeltaTable, rows: DataFrame, commit: Commit, last: Commit | None
) -> Commit:
    """Replace the table's rows, or only record the run where they are the same as before."""
    asserted = _with_faults(table, rows, {}).persist()
    try:
        _refuse(table, asserted)
        total = asserted.agg(
            F.count("*"),
            F.sum(F.col(VALUE_HASH).cast("decimal(38,0)")),
            F.bit_xor(F.xxhash64(*table.key, VALUE_HASH)),
        ).first()
        assert total is not None
        content = f"{total[0]}:{total[1]}:{total[2]}"
        failpoint("publish.compared")
        stamped = _stamp(
            asserted.drop(_FAULT, VALUE_HASH), F.lit(commit.as_of_us), F.lit(commit.created_us)
        )
        columns = [c.name for c in table.all_columns]
        if last is not None and last.content == content:
            done = replace(commit, rows=0, content=content)
            return deltalake_engine.append_files(table, delta, [], done)
        done = replace(commit, rows=total[0], created_min_us=commit.created_us, content=content)
        return _append(table, delta, stamped.select(columns), done, mode="overwrite")
    finally:
        asserted.unpersist()


def _with_faults(table: Table, rows: DataFrame, widths: Mapping[str, int]) -> DataFrame:
    """The rows with their value hash and the first fault of each."""
    names = [c.name for c in table.columns]
    schema = arrow_schema(table, table.columns)
    resolved = dict(widths)

    def check(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            hashes, faults = (
                pa.array(value_hash(table, batch)),
                pa.array(violations(table, batch, resolved), pa.string()),
            )
            yield pa.record_batch(
                [*batch.columns, hashes, faults], names=[*names, VALUE_HASH, _FAULT]
            )

    typed = rows.select([F.col(f.name).cast(_spark_type(f.type)) for f in schema])
    fields = StructType([*typed.schema.fields]).add(VALUE_HASH, "long").add(_FAULT, "string")
    return typed.mapInArrow(check, fields)


def _spark_type(arrow: pa.DataType) -> str:
    names = {
        "int64": "bigint",
        "int32": "int",
        "float": "float",
        "double": "double",
        "bool": "boolean",
        "string": "string",
    }
    if pa.types.is_list(arrow):
        return f"array<{_spark_type(arrow.value_type)}>"
    return "timestamp" if pa.types.is_timestamp(arrow) else names[str(arrow)]


def _refuse(table: Table, asserted: DataFrame) -> None:
    keys = list(table.key)
    judged = asserted.groupBy(*keys).agg(F.count("*").alias("times"), F.max(_FAULT).alias("fault"))
    bad = judged.filter((F.col("times") > 1) | F.col("fault").isNotNull()).first()
    if bad is None:
        return
    where = f"{table.name}, {tuple(bad)[: len(keys)]}"
    if bad["fault"] is None:
        raise ContractError(
            explain(
                where,
                expected="each key once",
                found="it twice",
                mend="deduplicate before publishing",
            )
        )
    raise ContractError(
        f"{where}: {bad['fault']}. Mend: correct the job, or its contract in vidtopics/contracts."
    )


def _history(table: Table, spark: SparkSession, delta: DeltaTable) -> DataFrame:
    times = [
        F.unix_micros(EVENT_TIME).alias("event_us"),
        F.unix_micros(CREATED_TIME).alias("created_us"),
    ]
    rows = spark_reader.read(
        spark, delta, columns=[*table.key, EVENT_TIME, CREATED_TIME, VALUE_HASH]
    )
    return rows.select(*table.key, *times, VALUE_HASH)


def _stamp(rows: DataFrame, event: Column, created: Column) -> DataFrame:
    return rows.withColumn(EVENT_TIME, F.timestamp_micros(event)).withColumn(
        CREATED_TIME, F.timestamp_micros(created)
    )


def _rows_to_write(
    table: Table, changes: DataFrame, asserted: DataFrame, delta: DeltaTable, kinds: set[str]
) -> DataFrame:
    """New values, tombstones and repeated values as rows; absent kinds cost no join."""
    keys, columns = list(table.key), [c.name for c in table.all_columns]
    new = (
        changes.filter("kind = 'new'")
        .select(*keys, "event_us", "created_us")
        .join(asserted.drop(_FAULT), keys)
    )
    parts = [new]
    if "tombstone" in kinds:
        ended = changes.filter("kind = 'tombstone'").withColumn(
            VALUE_HASH, F.lit(TOMBSTONE).cast("long")
        )
        nulls = {c.name: F.lit(None).cast(asserted.schema[c.name].dataType) for c in table.values}
        parts.append(ended.withColumns(nulls))
    if "reassert" in kinds:
        history = spark_reader.read(changes.sparkSession, delta)
        past = history.withColumns(
            {"held_event": F.unix_micros(EVENT_TIME), "held_created": F.unix_micros(CREATED_TIME)}
        )
        reasserted = changes.filter("kind = 'reassert'").join(
            past.drop(EVENT_TIME, CREATED_TIME), [*keys, "held_event", "held_created"]
        )
        parts.append(reasserted)
    return reduce(
        DataFrame.unionByName,
        (_stamp(p, F.col("event_us"), F.col("created_us")).select(columns) for p in parts),
    )


def _append(
    table: Table,
    delta: DeltaTable,
    rows: DataFrame,
    commit: Commit,
    mode: Literal["append", "overwrite"] = "append",
) -> Commit:
    files = spark_writer.write(rows, delta.table_uri, arrow_schema(table), indexed(table))
    return deltalake_engine.append_files(table, delta, files, commit, mode)
