"""`feast materialize` and `materialize-incremental`, from each offline into each online store."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from feast import BatchFeatureView, Field, PushSource, StreamFeatureView
from feast.types import Array, Float32, Float64, Int64, String
from feast_pairs import USER, VIDEO, day, incomes, table

INCOMES = incomes(("a", 1, 1), ("a", 2, 3), ("b", 7, 2))


def online(project, feature, *keys, key="user_id", **options):
    rows = [{key: value} for value in keys]
    response = project.store.get_online_features([feature], rows, **options).to_dict()
    return response[feature.partition(":")[2]]


def test_the_latest_value_by_the_end_is_online(project):
    project.view("incomes", INCOMES)
    project.store.materialize(day(0), day(2.5))
    assert online(project, "incomes:income", "a", "b", "c") == [1, 7, None]
    project.store.materialize(day(0), day(4))
    assert online(project, "incomes:income", "a", "b", "c") == [2, 7, None]


def test_a_window_includes_its_start(project):
    project.view("incomes", INCOMES)
    project.store.materialize(day(2), day(4))
    assert online(project, "incomes:income", "a", "b") == [2, 7]


def test_of_equal_event_times_the_later_created_is_online(project):
    project.view("incomes", incomes(("a", 1, 1, 5), ("a", 2, 1, 6), ("a", 3, 1, 4)))
    project.store.materialize(day(0), day(9))
    assert online(project, "incomes:income", "a") == [2]


def test_a_correction_at_the_same_event_time_replaces_the_value(project):
    project.view("incomes", incomes(("a", 1, 1, 1)))
    project.store.materialize(day(0), day(9))
    correction = incomes(("a", 9, 1, 2)).to_pandas()
    project.store.write_to_offline_store("incomes", correction)
    project.store.materialize(day(0), day(9))
    assert online(project, "incomes:income", "a") == [9]


def test_an_older_window_does_not_replace_a_newer_value(project):
    project.view("incomes", INCOMES)
    project.store.materialize(day(2), day(4))
    project.store.materialize(day(0), day(2))
    assert online(project, "incomes:income", "a") == [2]


def test_only_the_views_that_are_named_are_materialised(project):
    project.view("incomes", INCOMES)
    project.view("debts", incomes(("a", 9, 1)))
    project.store.materialize(day(0), day(4), feature_views=["debts"])
    assert online(project, "debts:income", "a") == [9]
    assert online(project, "incomes:income", "a") == [None]


def test_incremental_goes_on_where_the_last_one_ended(project):
    now = datetime.now(UTC)
    recent = [(now - timedelta(days=ago) - day(0)) / timedelta(days=1) for ago in (3, 1)]
    rows = incomes(("a", 1, recent[0]), ("a", 2, recent[1]))
    project.view("incomes", rows, ttl=timedelta(days=30))
    project.store.materialize_incremental(now - timedelta(days=2))
    assert online(project, "incomes:income", "a") == [1]
    project.store.materialize_incremental(now)
    assert online(project, "incomes:income", "a") == [2]
    first, second = project.store.get_feature_view("incomes").materialization_intervals
    assert first[1] == second[0]


def test_a_window_without_rows_leaves_what_is_online(project):
    project.view("incomes", INCOMES)
    project.store.materialize(day(0), day(4))
    project.store.materialize(day(20), day(30))
    assert online(project, "incomes:income", "a", "b") == [2, 7]


@pytest.mark.parametrize("pull_latest", [False, True])
def test_a_view_without_entities_is_materialised(project, pull_latest):
    project.store.config.materialization_config.pull_latest_features = pull_latest
    rates = table([{"rate": 1.5, "event": 1}, {"rate": 2.5, "event": 3}])
    project.view("rates", rates, {"rate": Float64}, entities=())
    project.store.materialize(day(0), day(4))
    response = project.store.get_online_features(["rates:rate"], [{"user_id": "a"}]).to_dict()
    assert response["rate"] == [2.5]


def test_two_join_keys_are_told_apart(project):
    ratings = table(
        [
            {"user_id": "a", "video_id": 12, "rating": 3, "event": 1},
            {"user_id": "a1", "video_id": 2, "rating": 1, "event": 1},
        ]
    )
    project.view("ratings", ratings, {"rating": Int64}, entities=(USER, VIDEO))
    project.store.materialize(day(0), day(4))
    rows = [{"user_id": "a", "video_id": 12}, {"user_id": "a1", "video_id": 2}]
    response = project.store.get_online_features(["ratings:rating"], rows).to_dict()
    assert response["rating"] == [3, 1]


def test_mapped_fields_keys_and_times(project):
    source = {
        "field_mapping": {"who": "user_id", "n": "income", "at": "held_from"},
        "timestamp_field": "held_from",
        "created_timestamp_column": "known",
    }
    rows = INCOMES.rename_columns(["who", "n", "at", "known"])
    project.view("incomes", rows, source=source)
    project.store.materialize(day(0), day(4))
    assert online(project, "incomes:income", "a", "b") == [2, 7]


def test_a_view_of_a_push_source_is_materialised_from_its_batch_source(project):
    view = project.view("incomes", INCOMES, apply=False)
    project.apply_with_source(view, PushSource(name="push", batch_source=view.batch_source))
    project.store.materialize(day(0), day(4))
    assert online(project, "incomes:income", "a", "b") == [2, 7]


def stream_view(project, fields):
    batch = project.source("incomes", INCOMES)
    return StreamFeatureView(
        name="incomes",
        entities=[USER],
        schema=fields,
        source=PushSource(name="income_push", batch_source=batch),
        ttl=timedelta(0),
        timestamp_field="event_timestamp",
    )


FIELDS = [Field(name="user_id", dtype=String), Field(name="income", dtype=Int64)]


@pytest.mark.parametrize("fields", [FIELDS, FIELDS[::-1]], ids=["key first", "key last"])
def test_a_stream_view_is_materialised_and_pushed_to(project, fields):
    project.store.apply([USER, stream_view(project, fields)])
    project.store.materialize(day(0), day(4))
    assert online(project, "incomes:income", "a", "b") == [2, 7]
    frame = incomes(("a", 8, 9)).to_pandas()
    project.store.push("income_push", frame)
    assert online(project, "incomes:income", "a", "b") == [8, 7]


def test_a_stream_view_is_read_offline(project):
    project.store.apply([USER, stream_view(project, FIELDS)])
    frame = pd.DataFrame({"user_id": ["a"], "event_timestamp": [day(4)]})
    job = project.store.get_historical_features(frame, ["incomes:income"])
    assert job.to_arrow()["income"].to_pylist() == [2]


def halved(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(half=rows["income"] / 2)


def test_a_batch_view_is_computed_from_columns_that_are_no_fields(project):
    view = BatchFeatureView(
        name="halves",
        mode="pandas",
        entities=[USER],
        schema=[Field(name="user_id", dtype=String), Field(name="half", dtype=Float64)],
        source=project.source("incomes", INCOMES),
        ttl=timedelta(0),
        udf=halved,
        udf_string="halved",
        online=True,
    )
    project.store.apply([USER, view])
    project.store.materialize(day(0), day(4))
    assert online(project, "halves:half", "a", "b") == [1.0, 3.5]


def test_a_null_value_is_materialised(project):
    project.view("incomes", incomes(("a", 1, 1), ("a", None, 2)))
    project.store.materialize(day(0), day(4))
    assert online(project, "incomes:income", "a") == [None]


def test_lists_and_texts_are_materialised(project):
    rows = table(
        [{"user_id": "a", "vector": [0.5, -1.0], "text": "ö", "event": 1}],
        {"vector": pa.list_(pa.float32())},
    )
    project.view("facts", rows, {"vector": Array(Float32), "text": String})
    project.store.materialize(day(0), day(4))
    response = project.store.get_online_features(["facts:vector", "facts:text"], [{"user_id": "a"}])
    assert response.to_dict() == {"user_id": ["a"], "vector": [[0.5, -1.0]], "text": ["ö"]}
