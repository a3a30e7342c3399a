"""Spark writes a table, a person is erased, and Spark reads every version without her."""

from __future__ import annotations

from pathlib import Path

import erasure_world as world
import pytest
from erasure_world import HER

from vidtopics.erasure import history
from vidtopics.erasure.ids import Ids
from vidtopics.jobs.session import session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
IDS = Ids.of([HER])


def test_every_version_without_her_and_what_is_appended_then(tmp_path: Path) -> None:
    spark, folder = session("tests"), tmp_path / "t"
    where = f"delta.`{folder}`"
    spark.sql(
        f"CREATE TABLE {where} (user_id STRING, n BIGINT, at TIMESTAMP) USING delta"
        " TBLPROPERTIES ('delta.checkpointInterval' = '3')"
    )

    def append(number: int, *users: str) -> None:
        rows = ", ".join(f"('{u}', {number}, TIMESTAMP '2026-01-0{number}')" for u in users)
        spark.sql(f"INSERT INTO {where} VALUES {rows}")

    def versions() -> list[list[tuple[object, ...]]]:
        spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()
        last = spark.sql(f"DESCRIBE HISTORY {where}").agg({"version": "max"}).first()[0]
        reader = spark.read.format("delta").option
        return [
            sorted(map(tuple, reader("versionAsOf", v).load(str(folder)).collect()))
            for v in range(last + 1)
        ]

    for number in range(1, 5):
        append(number, HER, f"u{number}")
    spark.sql(f"OPTIMIZE {where}")
    append(6, "u6", HER)
    before = versions()
    assert [*(folder / "_delta_log").glob("*.checkpoint.parquet")]
    history.erase(folder, IDS, history.find(folder, IDS))
    expected = [[row for row in rows if row[0] != HER] for rows in before]
    assert versions() == expected
    assert world.traces(folder, HER) == []
    append(7, "u7")
    append(8, "u8")
    assert len(versions()[-1]) == len(expected[-1]) + 2
    counted = spark.sql(f"SELECT count(*), max(n), min(n) FROM {where}").first()
    assert tuple(counted) == (7, 8, 1)
