"""Spark publishes as delta-rs does: the same runs leave the same rows, read alike by both."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from worlds import ODD_NAME, at, rows_of, statistics

from vidtopics.contracts import TAG_COOCCURRENCE, VIDEO_STATISTICS
from vidtopics.errors import ContractError
from vidtopics.maintenance import maintain, upkeep
from vidtopics.settings import MaintenanceSettings
from vidtopics.tables import Publication, Tables

BY_DELTALAKE = replace(VIDEO_STATISTICS, engine="deltalake")
RUNS = [  # event, created, values
    (10, 11, {"a": 1, "b": 2}),
    (30, 31, {"a": 1}),  # b ends; a is unchanged
    (20, 50, {"a": 5, "b": 2}),  # late: a is written again at 30
    (30, 31, {"a": 6, "c": 1}),  # a second run at 30
    (40, 60, {}),  # everything ends
]


@pytest.fixture(scope="module")
def spark() -> SparkSession:
    from vidtopics.jobs.session import session

    return session("tests")


def publish(
    tables: Tables, spark: SparkSession, values: dict[str, int], event: int, created: int
) -> Publication:
    return tables.publish(VIDEO_STATISTICS, frame(spark, statistics(values)), at(event, created))


def frame(spark: SparkSession, rows: pa.Table) -> DataFrame:
    return spark.createDataFrame(rows)


def test_the_same_runs_leave_the_same_rows(spark: SparkSession, tmp_path: Path) -> None:
    by_spark, by_deltalake = Tables(tmp_path / ODD_NAME), Tables(tmp_path / "d")
    for event, created, values in RUNS:
        by_spark_commit = publish(by_spark, spark, values, event, created)
        by_deltalake_commit = by_deltalake.publish(
            BY_DELTALAKE, statistics(values), at(event, created)
        )
        assert (by_spark_commit.rows, by_spark_commit.version) == (
            by_deltalake_commit.rows,
            by_deltalake_commit.version,
        )
    names = ["video_id", "event_timestamp", "created_timestamp"]
    rows = [
        t.read(VIDEO_STATISTICS).sort_by([(n, "ascending") for n in names])
        for t in (by_spark, by_deltalake)
    ]
    assert rows[0].to_pylist() == rows[1].to_pylist()
    plain = [
        [replace(c, job="") for c in t.commits(VIDEO_STATISTICS)] for t in (by_spark, by_deltalake)
    ]
    assert plain[0] == plain[1]
    for t, known in ((9, 99), (25, 49), (30, 50), (30, 99), (40, 99)):
        arrow = by_spark.as_of(VIDEO_STATISTICS, t, known, columns=["video_id", "video_exposures"])
        rows = (
            by_spark.spark_as_of(VIDEO_STATISTICS, t, known)
            .select("video_id", "video_exposures")
            .collect()
        )
        assert sorted(map(tuple, rows)) == sorted(zip(*arrow.to_pydict().values(), strict=True))
    assert {path.name for path in tmp_path.iterdir()} == {ODD_NAME, "d"}


def test_spark_commits_on_the_version_that_it_read_or_not_at_all(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Two runs take one transaction number: the second is told, so that it begins again."""
    from vidtopics.tables import spark_engine

    tables = Tables(tmp_path / ODD_NAME)
    publish(tables, spark, {"a": 1}, 10, 11)
    stale = tables.delta(VIDEO_STATISTICS)
    publish(tables, spark, {"a": 2}, 20, 21)
    from vidtopics.errors import ConflictError

    commit = at(30, 31, ordinal=2)
    with pytest.raises(ConflictError, match="expected version 1 as the latest"):
        spark_engine.publish_complete(
            VIDEO_STATISTICS, stale, frame(spark, statistics({"a": 3})), commit, None, {}
        )
    assert [r[3] for r in rows_of(tables, VIDEO_STATISTICS, "video_exposures")] == [1, 2]


def test_spark_refuses_what_delta_rs_refuses(spark: SparkSession, tmp_path: Path) -> None:
    tables = Tables(tmp_path / ODD_NAME)
    edges = {"tag_a": ["a", "a"], "tag_b": ["b", "c"], "videos": [1, 1]}
    broken = pa.table({**edges, "probability": [0.5, float("inf")]})
    with pytest.raises(
        ContractError, match=r"\('a', 'c'\): probability: expected a finite number, found inf"
    ):
        tables.publish(TAG_COOCCURRENCE, frame(spark, broken), at(10))
    twice = pa.concat_tables([statistics({"a": 1}), statistics({"a": 2})])
    with pytest.raises(ContractError, match=r"\('a',\): expected each key once"):
        tables.publish(VIDEO_STATISTICS, frame(spark, twice), at(10))
    with pytest.raises(ContractError, match="expected a Spark DataFrame, found Table"):
        tables.publish(VIDEO_STATISTICS, twice, at(10))
    assert list(tables.commits(VIDEO_STATISTICS)) == []


def test_what_spark_wrote_is_compacted_and_both_engines_go_on(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SMALL_FILES", 2)
    tables, oracle = Tables(tmp_path / ODD_NAME), Tables(tmp_path / "d")
    for event, created, values in RUNS[:3]:
        publish(tables, spark, values, event, created)
        oracle.publish(BY_DELTALAKE, statistics(values), at(event, created))
    before = rows_of(tables, VIDEO_STATISTICS, "video_exposures")
    (maintained,) = maintain(tables, MaintenanceSettings(keep_versions=timedelta(0)))
    assert maintained.compacted > 1 == maintained.into
    assert maintained.removed_files >= maintained.compacted  # Spark leaves empty files, too
    assert rows_of(tables, VIDEO_STATISTICS, "video_exposures") == before
    for event, created, values in RUNS[3:]:
        published = publish(tables, spark, values, event, created)
        expected = oracle.publish(BY_DELTALAKE, statistics(values), at(event, created))
        assert published.rows == expected.rows
    by_spark = tables.spark_as_of(VIDEO_STATISTICS, 35, 99).orderBy("video_id").collect()
    assert [row["video_exposures"] for row in by_spark] == oracle.as_of(
        VIDEO_STATISTICS, 35, 99
    ).sort_by("video_id")["video_exposures"].to_pylist()


def test_a_snapshot_is_replaced_as_a_whole_and_read_as_of_its_run(
    spark: SparkSession, tmp_path: Path
) -> None:
    tables = Tables(tmp_path / ODD_NAME)
    columns = "tag_a string, tag_b string, videos bigint, probability double"

    def run(event: int, *edges: tuple[str, str, int, float]) -> Publication:
        return tables.publish(
            TAG_COOCCURRENCE, spark.createDataFrame(list(edges), columns), at(event)
        )

    assert run(10, ("a", "b", 1, 1.0)).rows == 1
    assert run(20, ("a", "b", 1, 0.5), ("a", "c", 1, 0.5)).rows == 2
    assert run(30, ("a", "c", 1, 0.5), ("a", "b", 1, 0.5)).rows == 0  # the same rows: only recorded
    assert run(10, ("x", "y", 1, 1.0)).rows == 1  # the first date again, with another result
    seen = {
        t: tables.as_of(TAG_COOCCURRENCE, t, columns=["tag_b"])["tag_b"].to_pylist()
        for t in (10, 20, 35)
    }
    assert {t: sorted(rows) for t, rows in seen.items()} == {
        10: ["y"],
        20: ["b", "c"],
        35: ["b", "c"],
    }
