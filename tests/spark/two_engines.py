"""Prints what each engine read.

Run by test_session.py in a process of its own, as time zone and JVM are the process's.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from vidtopics.jobs.session import session, stop
from vidtopics.paths import to_spark

ODD_NAME = " -a b#%{ü}e\u0301?x=1*'\"$HOME&@v1,~[1]%20 "


def main(root: Path, times: list[datetime]) -> None:
    os.umask(0o027)
    work = root / ODD_NAME
    work.mkdir()
    os.chdir(work)
    spark = session("two-engines", log=root / "log" / "spark.log")
    by_deltalake, by_spark = root / "by_deltalake", root / "by_spark"
    write_deltalake(by_deltalake, pa.table({"at": pa.array(times, pa.timestamp("us", "UTC"))}))
    spark.createDataFrame([(t,) for t in times], "at timestamp").coalesce(1).write.format(
        "delta"
    ).save(str(by_spark))
    facts = {
        "local_offset_hours": datetime.fromtimestamp(0).astimezone().utcoffset().total_seconds()
        / 3600,
        "spark_reads_spark": spark_micros(spark.read.format("delta").load(str(by_spark))),
        "spark_reads_deltalake": spark_micros(spark.read.format("delta").load(str(by_deltalake))),
        "deltalake_reads_spark": deltalake_micros(by_spark),
        "parquet_type": pq.ParquetFile(next(by_spark.glob("*.parquet")))
        .schema.column(0)
        .physical_type,
        "log": "resolution report" in (root / "log" / "spark.log").read_text(),
        "odd_folder_rows": rows_in_an_odd_folder(spark, work),
        "folders": sorted(set(os.listdir(root)) - {ODD_NAME}),
        "modes": sorted({oct(path.stat().st_mode) for path in root.rglob("*")}),
    }
    print(json.dumps(facts | settings(spark) | stopped_and_started()))


def rows_in_an_odd_folder(spark: SparkSession, work: Path) -> list[int]:
    """Rows read of a managed table, and of Delta and Parquet files in the working directory."""
    spark.range(1).write.format("delta").saveAsTable("managed")
    spark.range(2).write.format("delta").save(to_spark(work / "delta"))
    pq.write_table(pa.table({"id": [1, 2, 3]}), "spine.parquet")
    frames = [
        spark.table("managed"),
        spark.read.format("delta").load(to_spark(work / "delta")),
        spark.read.option("__globPaths__", "false").parquet(to_spark("spine.parquet")),
    ]
    return [frame.count() for frame in frames]


def spark_micros(frame: DataFrame) -> list[int]:
    return [row["at"] for row in frame.select(F.unix_micros("at").alias("at")).sort("at").collect()]


def deltalake_micros(path: Path) -> list[int]:
    return sorted(DeltaTable(path).to_pyarrow_table().column("at").cast(pa.int64()).to_pylist())


def settings(spark: SparkSession) -> dict[str, object]:
    return {
        "same_session": session("again") is spark,
        "zone": spark.conf.get("spark.sql.session.timeZone"),
        "python": spark.sparkContext.pythonExec,
    }


def stopped_and_started() -> dict[str, object]:
    """Processes that are left of the JVM after `stop`, and what a second session counts."""
    stop()
    children = [process.name() for process in psutil.Process().children()]
    count = session("second").range(4).count()
    stop()
    stop()
    return {"left": [name for name in children if "java" in name], "second_count": count}


if __name__ == "__main__":
    main(Path(sys.argv[1]), [datetime.fromisoformat(text).astimezone(UTC) for text in sys.argv[2:]])
