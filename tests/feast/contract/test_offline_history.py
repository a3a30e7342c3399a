"""Historical features, on every pair."""

from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureService, Field, OnDemandFeatureView, RequestSource, ValueType
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String, UnixTimestamp
from feast_pairs import (
    USER,
    UTC_US,
    VIDEO,
    by_key,
    day,
    incomes,
    naive,
    spine,
    table,
)

INCOMES = incomes(("a", 1, 1), ("a", 2, 3), ("b", 7, 2))
POINTS = spine(("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 9), ("c", 9))
"""Before any value, at it, between two, at the second, long after, and of an unknown user."""
HELD = [None, 1, 1, 2, 7, None]


def history(project, frame, features=("incomes:income",), **options):
    return project.store.get_historical_features(frame, list(features), **options)


# --- what holds at a time ------------------------------------------------------------------------


def test_a_value_holds_from_its_event_time_on(project):
    project.view("incomes", INCOMES)
    assert by_key(history(project, POINTS), "income") == HELD


def test_repeated_rows_of_the_spine_stay(project):
    project.view("incomes", INCOMES)
    assert by_key(history(project, spine(("a", 1), ("a", 1), ("a", 1))), "income") == [1, 1, 1]


def test_a_ttl_ends_a_value_inclusively(project):
    project.view("incomes", INCOMES, ttl=timedelta(days=1))
    frame = spine(("a", 2), ("a", 2.001), ("a", 4), ("a", 4.001))
    assert by_key(history(project, frame), "income") == [1, None, 2, None]


def test_of_equal_event_times_the_later_created_wins(project):
    project.view("incomes", incomes(("a", 1, 1, 5), ("a", 2, 1, 6), ("a", 3, 1, 4)))
    assert by_key(history(project, spine(("a", 9))), "income") == [2]


def test_a_row_that_came_late_holds_from_its_event_time_on(project):
    project.view("incomes", incomes(("a", 1, 1, 1), ("a", 2, 2, 8)))
    assert by_key(history(project, spine(("a", 3))), "income") == [2]


def test_a_created_cut_hides_what_was_not_known(project):
    project.view("incomes", incomes(("a", 1, 1, 1), ("a", 2, 2, 8)))
    job = history(project, spine(("a", 3), ("a", 8)), filter_by_created_timestamp=True)
    assert by_key(job, "income") == [1, 2]


def test_a_null_value_is_a_value(project):
    project.view("incomes", incomes(("a", 1, 1), ("a", None, 2)))
    assert by_key(history(project, spine(("a", 1), ("a", 3))), "income") == [1, None]


# --- spines --------------------------------------------------------------------------------------


def test_a_spine_without_rows_gives_no_rows(project):
    project.view("incomes", INCOMES)
    result = history(project, POINTS.iloc[:0]).to_df()
    assert len(result) == 0
    assert {"user_id", "event_timestamp", "income"} <= set(result.columns)


def test_other_columns_of_the_spine_come_back(project):
    project.view("incomes", INCOMES)
    result = history(project, POINTS.assign(label=range(len(POINTS))))
    assert by_key(result, "label") == [0, 1, 2, 3, 4, 5]


def test_the_time_may_have_another_name(project):
    project.view("incomes", INCOMES)
    frame = POINTS.rename(columns={"event_timestamp": "asked_at"})
    assert by_key(history(project, frame), "income", ("user_id", "asked_at")) == HELD


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", None])
def test_a_spine_may_have_any_zone_and_none_is_utc(project, zone):
    project.view("incomes", INCOMES)
    times = POINTS["event_timestamp"].dt.tz_convert(zone)
    assert by_key(history(project, POINTS.assign(event_timestamp=times)), "income") == HELD


def test_times_without_a_zone_in_the_table_are_utc(project):
    project.view("incomes", naive(INCOMES))
    assert by_key(history(project, POINTS), "income") == HELD


def test_a_spine_may_be_a_select(project):
    project.view("incomes", INCOMES)
    project.source("visits", table([{"user_id": "a", "event": 2}, {"user_id": "b", "event": 1}]))
    job = history(project, "SELECT user_id, event_timestamp FROM visits ORDER BY user_id")
    assert by_key(job, "income") == [1, None]


def test_a_spine_that_lacks_a_key_is_refused(project):
    project.view("incomes", INCOMES)
    with pytest.raises(Exception, match="user_id"):
        history(project, POINTS.drop(columns="user_id")).to_df()


# --- no spine ------------------------------------------------------------------------------------


def test_a_range_of_time_gives_every_row_of_it(project):
    project.view("incomes", incomes(("a", 1, 1), ("a", 2, 3), ("b", 7, 2), ("b", 8, 9)))
    result = history(project, None, start_date=day(1), end_date=day(4)).to_df()
    rows = result.sort_values(["user_id", "event_timestamp"])[["user_id", "income"]]
    assert rows.to_numpy().tolist() == [["a", 1], ["a", 2], ["b", 7]]
    assert sorted(pd.to_datetime(result["event_timestamp"], utc=True)) == [day(1), day(2), day(3)]


@pytest.mark.parametrize("aware", [True, False], ids=["aware", "naive"])
def test_a_range_of_time_includes_both_ends(project, aware):
    project.view("incomes", INCOMES)
    dates = {"start_date": day(1), "end_date": day(3)}
    if not aware:
        dates = {name: date.replace(tzinfo=None) for name, date in dates.items()}
    assert sorted(history(project, None, **dates).to_df()["income"]) == [1, 2, 7]


# --- entities ------------------------------------------------------------------------------------

RATINGS = table(
    [
        {"user_id": "a", "video_id": 1, "rating": 5, "event": 1},
        {"user_id": "a", "video_id": 12, "rating": 3, "event": 1},
        {"user_id": "a1", "video_id": 2, "rating": 1, "event": 1},
    ]
)


def test_two_join_keys_are_told_apart(project):
    """As texts one after the other, `a` and 12 are `a1` and 2."""
    project.view("ratings", RATINGS, {"rating": Int64}, entities=(USER, VIDEO))
    keys = ("user_id", "video_id")
    frame = spine(("a", 1, 2), ("a", 12, 2), ("a1", 2, 2), ("a1", 12, 2), keys=keys)
    assert by_key(history(project, frame, ["ratings:rating"]), "rating", keys) == [5, 3, 1, None]


def test_views_of_other_entities_join_one_spine(project):
    project.view("incomes", INCOMES)
    project.view(
        "lengths",
        table([{"video_id": 1, "length": 30, "event": 1}]),
        {"length": Int64},
        entities=(VIDEO,),
    )
    frame = spine(("a", 1, 2), ("b", 2, 2), keys=("user_id", "video_id"))
    job = history(project, frame, ["incomes:income", "lengths:length"])
    assert by_key(job, "income") == [1, 7]
    assert by_key(job, "length") == [30, None]


def test_a_view_without_entities_joins_by_time_alone(project):
    rates = table([{"rate": 1.5, "event": 1}, {"rate": 2.5, "event": 3}])
    project.view("rates", rates, {"rate": Float64}, entities=())
    frame = spine(("a", 0), ("a", 2), ("b", 4))
    assert by_key(history(project, frame, ["rates:rate"]), "rate") == [None, 1.5, 2.5]


def test_a_view_may_be_joined_by_another_column(project):
    view = project.view("incomes", INCOMES)
    buyers = view.with_name("buyer").with_join_key_map({"user_id": "buyer_id"})
    sellers = view.with_name("seller").with_join_key_map({"user_id": "seller_id"})
    service = FeatureService(name="deals", features=[buyers, sellers])
    project.store.apply([service])
    frame = spine(("a", "b", 3), ("b", "a", 3), keys=("buyer_id", "seller_id"))
    job = project.store.get_historical_features(frame, service, full_feature_names=True)
    assert by_key(job, "buyer__income", ("buyer_id",)) == [2, 7]
    assert by_key(job, "seller__income", ("buyer_id",)) == [7, 2]


# --- features ------------------------------------------------------------------------------------


def test_full_names_bear_the_view(project):
    project.view("incomes", INCOMES)
    project.view("debts", incomes(("a", 9, 1)))
    job = history(
        project, spine(("a", 2)), ["incomes:income", "debts:income"], full_feature_names=True
    )
    assert by_key(job, "incomes__income") == [1]
    assert by_key(job, "debts__income") == [9]


def test_equal_names_of_two_views_are_refused(project):
    project.view("incomes", INCOMES)
    project.view("debts", incomes(("a", 9, 1)))
    with pytest.raises(Exception, match="full_feature_names"):
        history(project, spine(("a", 2)), ["incomes:income", "debts:income"]).to_df()


def test_a_feature_service_names_its_features(project):
    view = project.view(
        "people",
        table([{"user_id": "a", "income": 1, "age": 30, "event": 1}]),
        {"income": Int64, "age": Int64},
    )
    service = FeatureService(name="ages", features=[view[["age"]]])
    project.store.apply([service])
    result = project.store.get_historical_features(spine(("a", 2)), service).to_df()
    assert set(result.columns) == {"user_id", "event_timestamp", "age"}


def test_mapped_fields_keys_and_times(project):
    columns = ["who", "n", "at", "known"]
    source = {
        "field_mapping": {"who": "user_id", "n": "income", "at": "held_from"},
        "timestamp_field": "held_from",
        "created_timestamp_column": "known",
    }
    project.view("incomes", INCOMES.rename_columns(columns), source=source)
    assert by_key(history(project, POINTS), "income") == HELD


@pytest.mark.parametrize("suffix", ["_y", "_x", "_right", "__"])
def test_a_feature_may_end_in_any_way(project, suffix):
    name = f"income{suffix}"
    names = ["user_id", name, "event_timestamp", "created_timestamp"]
    project.view("incomes", INCOMES.rename_columns(names), {name: Int64})
    assert by_key(history(project, POINTS, [f"incomes:{name}"]), name) == HELD


def test_nothing_asked_for_is_refused(project):
    project.view("incomes", INCOMES)
    with pytest.raises(ValueError, match="No features"):
        history(project, POINTS, [])


@pytest.mark.parametrize("reference", ["incomes:debt", "debts:income"])
def test_an_unknown_feature_is_refused(project, reference):
    project.view("incomes", INCOMES)
    with pytest.raises(Exception, match="debt"):
        history(project, POINTS, [reference]).to_df()


VALUES = {
    "small": (Int32, pa.int32(), -(2**31)),
    "large": (Int64, pa.int64(), 2**62 + 1),
    "single": (Float32, pa.float32(), 0.5),
    "double": (Float64, pa.float64(), 0.1),
    "flag": (Bool, pa.bool_(), True),
    "text": (String, pa.string(), "zwölf"),
    "raw": (Bytes, pa.binary(), b"\x00\xff"),
    "at": (UnixTimestamp, UTC_US, day(5)),
    "numbers": (Array(Int64), pa.list_(pa.int64()), [1, 2**62 + 1]),
    "weights": (Array(Float32), pa.list_(pa.float32()), [0.25, -1.0]),
    "words": (Array(String), pa.list_(pa.string()), ["a", ""]),
}


def test_values_of_all_types_come_back(project):
    expected = {name: value for name, (_, _, value) in VALUES.items()}
    rows = table(
        [{"user_id": "a", "event": 1} | expected], {n: kind for n, (_, kind, _) in VALUES.items()}
    )
    project.view("all_types", rows, {name: dtype for name, (dtype, _, _) in VALUES.items()})
    job = history(project, spine(("a", 2)), [f"all_types:{name}" for name in VALUES])
    (row,) = job.to_arrow().to_pylist()
    assert {name: row[name] for name in VALUES} == expected


# --- on demand -----------------------------------------------------------------------------------


def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"doubled": frame["income"] * 2.0 + frame["bonus"]})


def test_an_on_demand_view_is_computed_from_views_and_request_data(project):
    view = project.view("incomes", INCOMES)
    request = RequestSource(name="request", schema=[Field(name="bonus", dtype=Int64)])
    on_demand = OnDemandFeatureView(
        name="doubles",
        sources=[view, request],
        schema=[Field(name="doubled", dtype=Float64)],
        mode="pandas",
        feature_transformation=PandasTransformation(doubled, "doubled"),
    )
    project.store.apply([on_demand])
    frame = spine(("a", 1), ("a", 3), ("b", 3)).assign(bonus=[10, 20, 30])
    job = history(project, frame, ["doubles:doubled", "incomes:income"])
    assert by_key(job, "doubled") == [12.0, 24.0, 44.0]
    with pytest.raises(Exception, match="bonus"):
        history(project, frame.drop(columns="bonus"), ["doubles:doubled"]).to_df()


def test_the_job_says_what_was_asked_for(project):
    project.view("incomes", INCOMES)
    metadata = history(project, POINTS).metadata
    assert (metadata.features, metadata.keys) == (["incomes:income"], ["user_id"])
    assert (metadata.min_event_timestamp, metadata.max_event_timestamp) == (day(0), day(9))


def test_an_entity_may_be_shared_by_name_alone(project):
    """The join key may be called otherwise than the entity."""
    guest = Entity(name="guest", join_keys=["user_id"], value_type=ValueType.STRING)
    project.view("incomes", INCOMES, entities=(guest,))
    assert by_key(history(project, POINTS), "income") == HELD
