"""Online features, on every pair. Rows are pushed, so the offline store is no part of them."""

import asyncio
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from feast import (
    FeatureService,
    Field,
    OnDemandFeatureView,
    PushSource,
    RequestSource,
    StreamFeatureView,
)
from feast.data_source import PushMode
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Array, Float32, Int64, String
from feast_pairs import USER, VIDEO, incomes, table

NOW = datetime.now(UTC)
A, B, NEVER = {"user_id": "a"}, {"user_id": "b"}, {"user_id": "never"}


def push(store, name, rows, *, event=NOW, created=None):
    frame = pd.DataFrame(rows)
    frame["event_timestamp"] = event
    frame["created_timestamp"] = created or event
    store.write_to_online_store(name, df=frame)


def statuses(response, name):
    proto = response.proto
    index = list(proto.metadata.feature_names.val).index(name)
    return [FieldStatus.Name(status) for status in proto.results[index].statuses]


@pytest.fixture
def incomes_online(project):
    """The view `incomes`, with the rows a and b online."""
    project.view("incomes", incomes(("a", 1, 1)))
    push(project.store, "incomes", [{**A, "income": 1}, {**B, "income": 2}])
    return project.store


def test_values_come_in_the_order_of_the_rows(incomes_online):
    rows = [B, A, B]
    answer = incomes_online.get_online_features(["incomes:income"], rows)
    assert answer.to_dict() == {"user_id": ["b", "a", "b"], "income": [2, 1, 2]}
    assert statuses(answer, "income") == ["PRESENT"] * 3


def test_columns_of_ids_are_as_rows(incomes_online):
    answer = incomes_online.get_online_features(["incomes:income"], {"user_id": ["b", "a"]})
    assert answer.to_dict() == {"user_id": ["b", "a"], "income": [2, 1]}


def test_an_async_request_gives_the_same(incomes_online):
    async def awaited():
        try:
            return await incomes_online.get_online_features_async(["incomes:income"], [B, NEVER])
        finally:
            await incomes_online.close()

    assert asyncio.run(awaited()).to_dict() == {"user_id": ["b", "never"], "income": [2, None]}


def test_full_names_say_the_view(incomes_online):
    answer = incomes_online.get_online_features(["incomes:income"], [A], full_feature_names=True)
    assert answer.to_dict() == {"user_id": ["a"], "incomes__income": [1]}


def test_a_service_is_the_features_of_its_views(incomes_online):
    view = incomes_online.get_feature_view("incomes")
    incomes_online.apply([FeatureService(name="all", features=[view])])
    answer = incomes_online.get_online_features(incomes_online.get_feature_service("all"), [A])
    assert answer.to_dict() == {"user_id": ["a"], "income": [1]}


def test_an_entity_that_was_never_written_has_null(incomes_online):
    answer = incomes_online.get_online_features(["incomes:income"], [NEVER, A])
    assert answer.to_dict()["income"] == [None, 1]


def test_an_entity_that_was_never_written_is_not_found(incomes_online):
    answer = incomes_online.get_online_features(["incomes:income"], [NEVER])
    assert statuses(answer, "income") == ["NOT_FOUND"]


def test_a_null_id_leaves_the_other_rows_alone(incomes_online):
    answer = incomes_online.get_online_features(["incomes:income"], [A, {"user_id": None}])
    assert answer.to_dict()["income"] == [1, None]


def test_a_value_past_its_ttl_is_returned(project):
    project.view("incomes", incomes(("a", 1, 1)), ttl=timedelta(hours=1))
    push(project.store, "incomes", [{**A, "income": 1}], event=NOW - timedelta(hours=2))
    answer = project.store.get_online_features(["incomes:income"], [A])
    assert answer.to_dict()["income"] == [1]


def test_a_value_past_its_ttl_is_outside_max_age(project):
    project.view("incomes", incomes(("a", 1, 1)), ttl=timedelta(hours=1))
    push(project.store, "incomes", [{**A, "income": 1}], event=NOW - timedelta(hours=2))
    answer = project.store.get_online_features(["incomes:income"], [A])
    assert statuses(answer, "income") == ["OUTSIDE_MAX_AGE"]


def test_an_older_row_does_not_replace_a_later_one(incomes_online):
    push(incomes_online, "incomes", [{**A, "income": 9}], event=NOW - timedelta(days=1))
    answer = incomes_online.get_online_features(["incomes:income"], [A])
    assert answer.to_dict()["income"] == [1]


def test_a_correction_at_the_same_event_time_wins(incomes_online):
    later = NOW + timedelta(seconds=1)
    push(incomes_online, "incomes", [{**A, "income": 9}], event=NOW, created=later)
    answer = incomes_online.get_online_features(["incomes:income"], [A])
    assert answer.to_dict()["income"] == [9]


def test_composite_keys_stay_apart(project):
    rows = table([{"user_id": "a", "video_id": 1, "n": 1, "event": 1}])
    project.view("pairs", rows, {"n": Int64}, entities=(USER, VIDEO))
    pairs = [{"user_id": "a1", "video_id": 23}, {"user_id": "a12", "video_id": 3}]
    push(project.store, "pairs", [{**pairs[0], "n": 1}, {**pairs[1], "n": 2}])
    answer = project.store.get_online_features(["pairs:n"], pairs[::-1])
    assert answer.to_dict()["n"] == [2, 1]


def test_views_of_other_entities_in_one_request(project):
    project.view("incomes", incomes(("a", 1, 1)))
    rows = table([{"video_id": 7, "n": 1, "event": 1}])
    project.view("lengths", rows, {"n": Int64}, entities=(VIDEO,))
    push(project.store, "incomes", [{**A, "income": 1}])
    push(project.store, "lengths", [{"video_id": 7, "n": 5}])
    answer = project.store.get_online_features(
        ["incomes:income", "lengths:n"], [{**A, "video_id": 7}, {**A, "video_id": 8}]
    )
    assert answer.to_dict() == {
        "user_id": ["a", "a"],
        "video_id": [7, 8],
        "income": [1, 1],
        "n": [5, None],
    }


def test_what_is_materialised_of_a_view_without_entities_is_read(project):
    rows = table([{"n": 5, "event": 1}, {"n": 6, "event": 2}])
    project.view("world", rows, {"n": Int64}, entities=())
    project.view("incomes", incomes(("a", 1, 1)))
    push(project.store, "incomes", [{**A, "income": 1}])
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    project.store.materialize(since, until, feature_views=["world"])
    answer = project.store.get_online_features(["incomes:income", "world:n"], [A, NEVER])
    assert answer.to_dict()["n"] == [6, 6]


def test_what_is_pushed_to_a_view_without_entities_is_read(project):
    project.view("incomes", incomes(("a", 1, 1)))
    project.view("world", table([{"n": 5, "event": 1}]), {"n": Int64}, entities=())
    push(project.store, "incomes", [{**A, "income": 1}])
    push(project.store, "world", [{"n": 7}])
    answer = project.store.get_online_features(["incomes:income", "world:n"], [A])
    assert answer.to_dict() == {"user_id": ["a"], "income": [1], "n": [7]}


def test_an_on_demand_view_is_worked_out_at_the_request(incomes_online):
    view = incomes_online.get_feature_view("incomes")
    doubled = OnDemandFeatureView(
        name="doubled",
        schema=[Field(name="twice", dtype=Int64)],
        udf=lambda rows: pd.DataFrame({"twice": rows["income"] * 2 + rows["plus"]}),
        udf_string="doubled",
        sources=[view, RequestSource(name="asked", schema=[Field(name="plus", dtype=Int64)])],
    )
    incomes_online.apply([doubled])
    answer = incomes_online.get_online_features(["doubled:twice"], [{**B, "plus": 100}])
    assert answer.to_dict()["twice"] == [104]


def test_a_stream_view_is_pushed_to_by_its_source_and_read(project):
    source = project.source("incomes", incomes(("a", 1, 1)))
    stream = PushSource(name="incomes_push", batch_source=source)
    view = StreamFeatureView(
        name="incomes",
        entities=[USER],
        schema=[Field(name="user_id", dtype=String), Field(name="income", dtype=Int64)],
        source=stream,
        ttl=timedelta(0),
    )
    project.store.apply([USER, stream, view])
    times = {"event_timestamp": [NOW], "created_timestamp": [NOW]}
    frame = pd.DataFrame({"user_id": ["a"], "income": [3], **times})
    project.store.push("incomes_push", frame, to=PushMode.ONLINE)
    answer = project.store.get_online_features(["incomes:income"], [A, NEVER])
    assert answer.to_dict() == {"user_id": ["a", "never"], "income": [3, None]}


def test_a_join_key_under_another_name(incomes_online):
    view = incomes_online.get_feature_view("incomes")
    friends = view.with_name("friends").with_join_key_map({"user_id": "friend_id"})
    incomes_online.apply([FeatureService(name="friends", features=[friends])])
    service = incomes_online.get_feature_service("friends")
    answer = incomes_online.get_online_features(service, [{"friend_id": "b"}])
    assert answer.to_dict() == {"friend_id": ["b"], "income": [2]}


def test_a_teardown_leaves_nothing_to_read(incomes_online):
    incomes_online.teardown()
    with pytest.raises(Exception, match="incomes"):
        incomes_online.get_online_features(["incomes:income"], [A])


def test_documents_that_are_nearest_are_found(project):
    vector = pd.DataFrame({"user_id": list("abc"), "z": [[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]})
    rows = table([{"user_id": "a", "z": [1.0, 0.0], "event": 1}])
    project.view("vectors", rows, {"z": Array(Float32)})
    push(project.store, "vectors", vector)
    answer = project.store.retrieve_online_documents_v2(
        features=["vectors:z"], query=[1.0, 0.0], top_k=2, distance_metric="L2"
    )
    assert sorted(answer.to_dict()["user_id"]) == ["a", "c"]
