"""Defects of Feast 0.67's offline stores: each test passes on ours and fails on Feast's.

It has to fail there (strictly): should one be mended, we hear of it.
"""

import sys
import tracemalloc
from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delta_shop import TIMES, USER, append, incomes, shop, spine
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat, ParquetFormat
from feast.types import Int64, String


def both(kind: str, defect: str):
    """Run on our store and on Feast's, which is known to have the defect."""
    feasts = pytest.param(
        kind,
        marks=pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"Feast 0.67: {defect}"),
    )
    return pytest.mark.parametrize("kind", ["ours", feasts])


def incomes_store(kind: str, folder, rows: pa.Table, entities=(USER,), times=TIMES) -> FeatureStore:
    """The same rows in a Delta table for our store, in a Parquet file for Feast's."""
    path = folder / "incomes.parquet"
    if kind == "ours":
        append(folder, rows)
        source = FileSource(path="incomes", file_format=DeltaFormat(), **times)
    elif kind == "dask":
        pq.write_table(rows, path)
        source = FileSource(path=str(path), file_format=ParquetFormat(), **times)
    else:
        from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

        from vidtopics.jobs.session import session

        session("defects", log=folder / "spark.log")
        pq.write_table(rows, path)
        source = SparkSource(name="incomes", path=str(path), file_format="parquet", **times)
    keys = [e.join_key for e in entities]
    view = FeatureView(
        name="incomes",
        entities=list(entities),
        source=source,
        ttl=timedelta(0),
        schema=[*(Field(name=k, dtype=String) for k in keys), Field(name="income", dtype=Int64)],
    )
    if kind == "ours":
        return shop(folder, view, *entities)
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(folder / "registry.db"),
        entity_key_serialization_version=3,
        online_store=None,
        offline_store={"type": kind},
    )
    store = FeatureStore(config=config)
    store.apply([*entities, view])
    return store


@pytest.fixture(autouse=True)
def _session_as_it_was():
    """Feast's store makes quoted names regular expressions, in the whole process' session."""
    yield
    if "pyspark" in sys.modules and (
        spark := sys.modules["pyspark"].sql.SparkSession.getActiveSession()
    ):
        spark.conf.unset("spark.sql.parser.quotedRegexColumnNames")


@pytest.mark.slow
@both("spark", "keys are concatenated without a separator")
def test_6_composite_keys_do_not_collide(kind, tmp_path):
    """(1, 23) and (12, 3) at one time."""
    left, right = (
        Entity(name=n, join_keys=[n], value_type=ValueType.STRING) for n in ("left_id", "right_id")
    )
    rows = incomes(("1", 1, 1, 1), ("12", 2, 1, 1)).rename_columns(
        ["left_id", "income", *TIMES.values()]
    )
    store = incomes_store(
        kind, tmp_path, rows.append_column("right_id", pa.array(["23", "3"])), (left, right)
    )
    frame = (
        spine(("12", 2), ("1", 2))
        .rename(columns={"user_id": "left_id"})
        .assign(right_id=["3", "23"])
    )
    joined = store.get_historical_features(frame, ["incomes:income"]).to_df()
    assert sorted(zip(joined["left_id"], joined["right_id"], joined["income"], strict=True)) == [
        ("1", "23", 1),
        ("12", "3", 2),
    ]


@pytest.mark.slow
@both("spark", "rows of one event time multiply the spine's")
def test_7_ties_do_not_multiply_rows(kind, tmp_path):
    """Two rows of one user and time, without a created column: either wins, one row stays one."""
    rows = incomes(("a", 1, 1, 1), ("a", 2, 1, 1), ("b", 3, 1, 1)).drop_columns(
        ["created_timestamp"]
    )
    store = incomes_store(kind, tmp_path, rows, times={"timestamp_field": "event_timestamp"})
    joined = store.get_historical_features(spine(("a", 2), ("b", 2)), ["incomes:income"]).to_df()
    assert sorted(joined["user_id"]) == ["a", "b"]


@both("dask", "rows are lost (#6787): those before any value, and those that repeat")
def test_9_no_row_of_the_spine_is_lost(kind, tmp_path):
    store = incomes_store(kind, tmp_path, incomes(("a", 1, 1, 1), ("b", 3, 2, 4)))
    frame = spine(("a", 9), ("a", 0), ("b", 3), ("a", 9), ("c", 9), ("b", 1))
    joined = store.get_historical_features(frame, ["incomes:income"]).to_df()
    assert len(joined) == 6
    assert joined["user_id"].tolist() == ["a", "a", "b", "a", "c", "b"]
    assert joined["income"].dropna().tolist() == [1, 3, 1]


@pytest.mark.slow
@both(
    "dask",
    "each row of the spine is joined to all rows of its key (#3003); 100 k rows take over 150 s",
)
def test_9_a_busy_key_is_not_joined_row_by_row(kind, tmp_path):
    """4,000 spine and 1,000 table rows of one user: less than a byte is allocated for each pair."""
    rows = incomes(*(("a", i, i / 1000, i / 1000) for i in range(1000)))
    store = incomes_store(kind, tmp_path, rows)
    frame = spine(*(("a", 1 + i / 4000) for i in range(4000)))

    def incomes_of(frame: pd.DataFrame) -> pd.Series:
        return store.get_historical_features(frame, ["incomes:income"]).to_df()["income"]

    assert incomes_of(frame[:1]).eq(999).all()  # modules that are imported late count no longer
    tracemalloc.start()
    try:
        assert incomes_of(frame).eq(999).all()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000 * 1_000
