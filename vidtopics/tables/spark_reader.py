"""Reading a table as of a time with Spark; the same answer as `Tables.as_of`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from vidtopics.contracts import CREATED_TIME, EVENT_TIME, VALUE_HASH, Table
from vidtopics.errors import MachineError, explain
from vidtopics.paths import to_spark

if TYPE_CHECKING:
    from vidtopics.tables import Tables


def at_version(tables: Tables, table: Table, version: int) -> DataFrame:
    """All rows of a version, with all columns of the table."""
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
    tables.delta(table, create=True)
    reader = spark.read.format("delta").option("versionAsOf", version)
    return reader.load(to_spark(tables.path(table)))


def as_of(tables: Tables, table: Table, at_us: int, known_by_us: int) -> DataFrame:
    """Rows that a reader sees as of `at_us`, known by `known_by_us`; see `Tables.as_of`."""
    delta = tables.delta(table, create=True)
    version = (
        tables._snapshot_version(table, at_us) if table.kind == "snapshot" else delta.version()
    )
    rows = at_version(tables, table, version)
    names = [c.name for c in table.columns]
    if table.kind == "snapshot":
        return rows.select(names)
    event, created = F.unix_micros(EVENT_TIME), F.unix_micros(CREATED_TIME)
    known = rows.filter(created <= known_by_us)
    if table.kind == "log":
        return known.filter(event < at_us).select(names)
    latest = Window.partitionBy(*table.key).orderBy(F.desc(EVENT_TIME), F.desc(CREATED_TIME))
    placed = known.filter(event <= at_us).withColumn("place", F.row_number().over(latest))
    return placed.filter((F.col("place") == 1) & (F.col(VALUE_HASH) != 0)).select(names)
